"""What the roles are on official templates, labelled by hand: the truth that inference is measured against.

One line a template: `role=inputs`, inputs joined by `+` where one parameter sets several. For `prompt`, `seed` and the
like the line names the first parameter of that role; `pictures`, `audio` and `video` name all. A role that is not there
must not be found. The labels were drafted by the walk and then checked, each by reading the graph, and mended, as was
the walk: what reaches the sampler's `positive` is the prompt, the side of a switch that is on counts, a number that
only rounds another is set at that other, a size that a picture gives is nobody's.

The last fifty were labelled from their graphs alone, before the walk had read them. Of the 239 roles that they have, it
had 237 right then. The two that it had not (a negative prompt that its author titled "System prompt", a service's
`text1`) taught it two rules.

The graphs are those that ComfyUI's editor made of the official templates (`comfyui-workflow-templates-json` 0.1.50), in
`tests/fixtures/templates/labelled-graphs.json.gz`, long texts cut; those of the last fifty are what our own converter
makes of the same package.
"""

from __future__ import annotations

from typing import Final

#: Roles whose first parameter is measured, and those of which all are.
FIRST: Final = (
    "prompt", "negative_prompt", "seed", "steps", "width", "height", "size", "aspect_ratio", "megapixels",
)  # fmt: skip
ALL: Final = ("pictures", "audio", "video")

TABLE: Final = """
# pictures
sdxl_simple_example: prompt=6.text+15.text negative_prompt=7.text+16.text seed=10.noise_seed steps=10.steps+11.steps
    width=5.width height=5.height
sdxlturbo_example: prompt=6.text negative_prompt=7.text seed=13.noise_seed steps=22.steps width=5.width
    height=5.height
sd3.5_simple_example: prompt=16.text negative_prompt=40.text seed=3.seed steps=3.steps width=53.width height=53.height
sd3.5_large_depth: prompt=57.text seed=56.seed steps=56.steps pictures=45.image
sd3.5_large_canny_controlnet_example: prompt=6.text seed=3.seed steps=3.steps width=33.width height=33.height
    pictures=45.image
flux_dev_full_text_to_image: prompt=194:49.text seed=194:50.seed steps=194:50.steps width=194:48.width
    height=194:48.height
flux_dev_checkpoint_example: prompt=56:51.text seed=56:52.seed steps=56:52.steps width=56:50.width height=56:50.height
flux_schnell: prompt=6.text negative_prompt=33.text seed=31.seed steps=31.steps width=27.width height=27.height
flux_depth_lora_example: prompt=150:23.text seed=150:3.seed steps=150:3.steps pictures=17.image
flux1_dev_uso_reference_image_gen: prompt=112:6.text seed=112:31.seed steps=112:31.steps width=112:110.width
    height=112:110.height pictures=47.image
image_flux.1_fill_dev_OneReward: prompt=108:23.text seed=108:3.seed steps=108:3.steps pictures=17.image
image_flux2_fp8: prompt=62:6.text seed=62:25.noise_seed steps=62:90.value pictures=42.image+46.image
image_flux2_text_to_image_9b: prompt=75:74.text negative_prompt=75:67.text seed=75:73.noise_seed steps=75:62.steps
    width=75:68.value height=75:69.value
image_flux2_klein_image_edit_4b_base: prompt=75:74.text negative_prompt=75:67.text seed=75:73.noise_seed
    steps=75:62.steps pictures=76.image
hidream_e1_1: prompt=6.text negative_prompt=7.text seed=47.noise_seed steps=49.steps pictures=13.image
hidream_e1_full: prompt=6.text negative_prompt=7.text seed=47.noise_seed steps=49.steps width=44.width
    height=44.height pictures=13.image
hidream_i1_full: prompt=91.text negative_prompt=85.text seed=93.seed steps=93.steps width=86.width height=86.height
image_hidream_o1_dev: prompt=171.value negative_prompt=188.text seed=108.noise_seed steps=112.steps pictures=213.image
image_qwen_Image_2512: prompt=238:227.text negative_prompt=238:228.text seed=238:230.seed steps=238:224.value
    width=238:232.width height=238:232.height
image_qwen_Image_2512_controlnet: prompt=86:81.text negative_prompt=86:7.text seed=86:3.seed steps=86:113.value
    pictures=121.image
image_qwen_image_2512_with_2steps_lora: prompt=108.text seed=106.seed steps=106.steps width=107.width
    height=107.height
image_qwen_image_edit_2509_relight: prompt=15.value negative_prompt=10:110.prompt seed=10:3.seed steps=10:3.steps
    pictures=11.image
image_qwen_image_edit_2511: prompt=170:151.prompt negative_prompt=170:149.prompt seed=170:169.seed steps=170:166.value
    pictures=41.image+83.image
image_qwen_image_instantx_controlnet: prompt=111:6.text negative_prompt=111:7.text seed=111:3.seed steps=111:3.steps
    pictures=71.image
image_qwen_image_layered_control: prompt=83:6.text negative_prompt=83:7.text seed=83:3.seed steps=83:3.steps
    pictures=74.image
image_qwen_image_union_control_lora: prompt=84:6.text negative_prompt=84:7.text seed=84:3.seed steps=84:87.value
    pictures=73.image
image_chroma_text_to_image: prompt=748.text negative_prompt=749.text seed=718.noise_seed steps=734.steps
    width=737.width height=737.height
image_anima_base_v1: prompt=90:77.text negative_prompt=90:75.text seed=90:76.seed steps=90:79.value
    aspect_ratio=91.aspect_ratio megapixels=91.megapixels
image_anima_preview: prompt=60:11.text negative_prompt=60:12.text seed=60:19.seed steps=60:19.steps width=60:28.width
    height=60:28.height
image_anima_lllite_image_inpainting: prompt=88:84.text negative_prompt=88:82.text seed=88:106.seed steps=88:108.value
    width=88:81.width height=88:81.height pictures=91.image+694.mask
image_boogu_image_0_1_turbo_t2i: prompt=34:11.text seed=34:32.seed steps=34:32.steps aspect_ratio=35.aspect_ratio
    megapixels=35.megapixels
image_boogu_image_0_1_edit_int8: prompt=45:36.prompt negative_prompt=45:36.negative_prompt seed=45:21.noise_seed
    steps=45:26.steps pictures=32.image
image_ernie_image: prompt=88:78.value negative_prompt=88:72.text seed=88:70.seed steps=88:70.steps width=88:71.width
    height=88:71.height
image_ideogram4_t2i: prompt=98:24.text seed=98:18.noise_seed aspect_ratio=37.aspect_ratio megapixels=37.megapixels
image_kandinsky5_t2i: prompt=12:7.text negative_prompt=12:2.text seed=12:8.seed steps=12:8.steps width=12:18.width
    height=12:18.height
image_krea2_turbo_t2i: prompt=30:19.value seed=30:3.seed steps=30:3.steps aspect_ratio=49.aspect_ratio
    megapixels=49.megapixels
image_krea2_turbo_int8_image_style_reference: prompt=30:19.value seed=30:63.noise_seed steps=30:60.steps
    aspect_ratio=71.aspect_ratio megapixels=71.megapixels pictures=69.image
image_lens_turbo_t2i: prompt=34:3.text negative_prompt=34:7.text seed=34:14.noise_seed steps=34:16.steps
    aspect_ratio=35.aspect_ratio megapixels=35.megapixels
image_longcat_text_to_image: prompt=13:4.text negative_prompt=13:5.text seed=13:7.seed steps=13:7.steps
    aspect_ratio=14.aspect_ratio megapixels=14.megapixels
image_lotus_depth_v1_1: steps=74:20.steps pictures=12.image
image_mage_flow_t2i_int8: prompt=12:5.prompt negative_prompt=12:5.negative_prompt seed=12:6.seed steps=12:6.steps
    aspect_ratio=27.aspect_ratio megapixels=27.megapixels
image_mage_flow_edit_int8: prompt=12:5.prompt negative_prompt=12:5.negative_prompt seed=12:6.seed steps=12:6.steps
    pictures=7.image
image_newbieimage_exp0_1-t2i: prompt=48.value negative_prompt=41:54.text seed=41:3.seed steps=41:3.steps
    width=41:31.width height=41:31.height
image_omnigen2_image_edit: prompt=6.text negative_prompt=7.text seed=21.noise_seed steps=23.steps pictures=16.image
image_pixeldit_t2i: prompt=44:6.text negative_prompt=44:30.text seed=44:42.seed steps=44:42.steps
    aspect_ratio=46.aspect_ratio megapixels=46.megapixels
image_z_image: prompt=76:67.text negative_prompt=76:71.text seed=76:69.seed steps=76:69.steps
    aspect_ratio=94.aspect_ratio megapixels=94.megapixels
image_chrono_edit_14B: prompt=97:105.text negative_prompt=97:106.text seed=97:110.seed steps=97:113.value
    width=97:109.width height=97:109.height pictures=52.image
Image_capybara_v0_1_image_edit: prompt=103:44.text negative_prompt=103:93.text seed=103:25.noise_seed
    steps=103:17.steps width=103:105.resize_type.width height=103:105.resize_type.height pictures=80.image
template_sugar_coated_gummy_style_qwen: prompt=76:80.string_a negative_prompt=76:7.text seed=76:3.seed
    steps=76:3.steps width=76:58.width height=76:58.height
templates-image_to_real: prompt=17:8.prompt negative_prompt=17:9.prompt seed=17:11.seed steps=17:11.steps
    pictures=14.image
templates-product_scene_relight: prompt=14.value seed=22.seed size=22.size_preset pictures=1.image+2.image
# films
video_wan2_2_14B_i2v: prompt=129:93.text negative_prompt=129:89.text seed=129:86.noise_seed steps=129:128.value
    width=129:98.width height=129:98.height pictures=97.image
video_wan2_2_5B_ti2v: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=55.width height=55.height
image_to_video_wan: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=50.width height=50.height
    pictures=52.image
wan2.1_flf2v_720_f16: prompt=6.text negative_prompt=7.text seed=90.seed steps=90.steps width=83.width height=83.height
    pictures=52.image+72.image
wan2.1_fun_control: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=55.width height=55.height
    pictures=52.image video=80.file
video_wan_vace_14B_v2v: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=49.width height=49.height
    pictures=134.image video=145.file
video_wan_vace_flf2v: prompt=220:6.text negative_prompt=220:7.text seed=220:3.seed steps=220:202.value
    width=220:193.value height=220:194.value pictures=144.image+147.image
video_wan_vace_outpainting: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=137.value
    height=139.value video=71.file
video_wan_vace_inpainting: prompt=306:280.text negative_prompt=306:279.text seed=306:288.seed steps=306:273.value
    width=306:297.value height=306:290.value pictures=162.image video=209.file
video_wan2_2_14B_s2v: prompt=6.text negative_prompt=7.text seed=3.seed steps=103.value width=93.width height=93.height
    pictures=52.image audio=58.audio
video_wan_ati: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=248.width height=248.height
    pictures=240.image
ltxv_text_to_video: prompt=6.text negative_prompt=7.text seed=72.noise_seed steps=71.steps width=70.width
    height=70.height
video_ltx2_3_t2v: prompt=267:266.value negative_prompt=267:247.text seed=267:237.noise_seed width=267:257.value
    height=267:258.value
video_ltx2_3_i2v: prompt=320:319.value negative_prompt=320:313.text seed=320:277.noise_seed width=320:312.value
    height=320:299.value pictures=269.image
video_ltx2_3_id_lora: prompt=340:319.value negative_prompt=340:314.text seed=340:286.noise_seed width=340:330.value
    height=340:324.value pictures=269.image audio=276.audio
video_ltx2_i2v_distilled: prompt=92:3.text seed=92:11.noise_seed width=102.resize_type.width
    height=102.resize_type.height pictures=98.image
video_ltx2_5_t2v: prompt=405:376.value negative_prompt=405:373.text seed=405:339.noise_seed
    aspect_ratio=409.aspect_ratio megapixels=409.megapixels
video_ltx2_5_flf2v: prompt=251:252.value negative_prompt=251:217.text seed=251:196.noise_seed width=251:215.value
    height=251:216.value pictures=31.image+39.image
video_ltx2_canny_to_video: prompt=143:124.text negative_prompt=143:119.text seed=143:126.noise_seed+143:177.noise_seed
    steps=143:95.steps width=166.value height=167.value pictures=160.image video=127.file
hunyuan_video_text_to_video: prompt=44.text seed=25.noise_seed steps=17.steps width=45.width height=45.height
video_hunyuan_video_1.5_720p_i2v: prompt=44.text negative_prompt=93.text seed=127.noise_seed steps=126.steps
    width=78.width height=78.height pictures=80.image
video_minimax_h3_t2v: prompt=140:131.prompt seed=140:129.noise_seed steps=140:137.value aspect_ratio=115.aspect_ratio
    megapixels=115.megapixels
txt_to_image_to_video: prompt=18.text negative_prompt=19.text seed=17.seed steps=17.steps width=22.width+12.width
    height=22.height+12.height
# sounds
audio_ace_step_1_t2a_song: prompt=14.tags seed=52.seed steps=52.steps
audio_ace_step1_5_xl_base: prompt=94.tags seed=109.value steps=3.steps
audio_stable_audio_example: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps
audio_ace_step_1_m2m_editing: prompt=14.tags seed=52.seed steps=52.steps audio=64.audio
# shapes and tools
3d_hunyuan3d-v2.1: seed=7.seed steps=7.steps pictures=2.image
3d_hunyuan3d_multiview_to_model_turbo: seed=3.seed steps=3.steps pictures=56.image+82.image
utility-gan_upscaler: video=9.file
utility_z_image_turbo_2k_upscaler.app: prompt=87:67.text negative_prompt=87:71.text seed=87:69.seed steps=87:69.steps
    pictures=77.image
utility_image_stitch: width=21.resize_type.width height=21.resize_type.height
    pictures=12.image+13.image+14.image+15.image
utility_birefnet_remove_background: pictures=17.image
utility_seedvr2_7b_int8_upscale_image: seed=66:54.seed steps=66:54.steps pictures=1.image
# services
api_openai_dall_e_3_t2i: prompt=21.prompt seed=21.seed size=21.size
api_openai_image_1_inpaint: prompt=25.prompt seed=25.seed size=25.size pictures=29.image
api_openai_gpt_image_2_t2i: prompt=271.prompt seed=271.seed size=271.model.size
api_bfl_flux_1_kontext_pro_image: prompt=83.prompt seed=83.seed steps=83.steps aspect_ratio=83.aspect_ratio
    pictures=84.image
api_ideogram_v4_t2i: prompt=7.prompt seed=7.seed
api_ideogram_p_image_t2i: prompt=12.high_level_description seed=11.seed aspect_ratio=11.aspect_ratio
api_google_gemini_image: prompt=5.prompt seed=5.seed aspect_ratio=5.aspect_ratio pictures=2.image
api_google_gemini_omni_flash_t2v: prompt=21:15.value seed=5.seed
api_kling2_6_i2v: prompt=12.prompt pictures=14.image
api_luma_t2v: prompt=29.prompt seed=29.seed aspect_ratio=29.aspect_ratio
api_veo3: prompt=14.prompt negative_prompt=14.negative_prompt seed=14.seed aspect_ratio=14.aspect_ratio
api_wan_text_to_video: prompt=2.prompt negative_prompt=2.negative_prompt seed=2.seed size=2.size
api_bytedance_seedream4: prompt=1.prompt seed=1.seed size=1.size_preset pictures=11.image
api_recraft_v4_text_to_vector: prompt=13.prompt negative_prompt=13.negative_prompt seed=13.seed size=13.model.size
api_qwen3_t2i: prompt=14.model.prompt negative_prompt=14.model.negative_prompt seed=14.seed
    aspect_ratio=8.aspect_ratio megapixels=8.megapixels
api_runway_reference_to_image: prompt=3.prompt aspect_ratio=3.ratio pictures=5.image
api_vidu_q2_flf2v: prompt=43.prompt seed=43.seed pictures=40.image+42.image
api_bria_image_edit: prompt=3.prompt negative_prompt=3.negative_prompt seed=3.seed steps=3.steps pictures=5.image
api_krea2_style_reference: prompt=1.prompt seed=1.seed aspect_ratio=1.model.aspect_ratio pictures=11.image+12.image
api_seedance2_5_t2v: prompt=9.model.prompt seed=9.seed aspect_ratio=9.model.ratio
api_tripo3_1_multiview_to_model: seed=47.model_seed pictures=44.image+45.image+46.image
api_rodin_image_to_model: seed=28.Seed pictures=49.image
api_bytedance_seed_audio1_0_t2a: prompt=3.text_prompt seed=3.seed
# labelled before the walk had seen them
sdxl_refiner_prompt_example: prompt=6.text negative_prompt=7.text+16.text seed=10.noise_seed steps=10.steps+11.steps
    width=5.width height=5.height
sdxl_revision_text_prompts: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=5.width
    height=5.height pictures=34.image+38.image
flux_canny_model_example: prompt=23.text seed=3.seed steps=3.steps pictures=17.image
flux_fill_inpaint_example: prompt=47:23.text seed=47:3.seed steps=47:3.steps pictures=17.image
flux_fill_outpaint_example: prompt=23.text seed=3.seed steps=3.steps pictures=17.image
flux_kontext_dev_basic: prompt=192:6.text seed=192:31.seed steps=192:31.steps pictures=190.image
flux_redux_model_example: prompt=6.text seed=25.noise_seed steps=17.steps width=27.width+30.width
    height=27.height+30.height pictures=40.image+47.image
image_qwen_image_edit: prompt=102:76.prompt negative_prompt=102:77.prompt seed=102:3.seed steps=102:106.value
    pictures=78.image
image_qwen_image_instantx_inpainting_controlnet: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps
    pictures=71.image
image_z_image_turbo_fun_union_controlnet: prompt=70:45.text seed=70:44.seed steps=70:44.steps pictures=58.image
image_netayume_lumina_t2i: prompt=48:51.value negative_prompt=48:35:42.value seed=48:33.seed steps=48:33.steps
    width=48:31.width height=48:31.height
image_omnigen2_t2i: prompt=42:6.text negative_prompt=42:7.text seed=42:21.noise_seed steps=42:23.steps
    width=42:11.width height=42:11.height
image_ovis_text_to_image: prompt=57:45.text negative_prompt=57:49.text seed=57:44.seed steps=57:44.steps
    width=57:41.width height=57:41.height
image_chroma1_radiance_text_to_image: prompt=762:693.text negative_prompt=762:728.text seed=762:718.noise_seed
    steps=762:751.steps width=762:760.width height=762:760.height
image_flux2_text_to_image: prompt=98:6.text seed=98:25.noise_seed steps=98:100.value width=98:47.width+98:48.width
    height=98:47.height+98:48.height
image_joyai_image_edit: prompt=170:174.prompt negative_prompt=170:177.prompt seed=170:10.seed steps=170:10.steps
    pictures=41.image
text_to_video_wan: prompt=6.text negative_prompt=7.text seed=3.seed steps=3.steps width=40.width height=40.height
ltxv_image_to_video: prompt=6.text negative_prompt=7.text seed=72.noise_seed steps=71.steps width=77.width
    height=77.height pictures=78.image
video_wan2_2_14B_t2v: prompt=128:89.text negative_prompt=128:72.text seed=128:81.noise_seed steps=128:114.value
    width=128:74.width height=128:74.height
video_wan2_1_infinitetalk: prompt=188:14.text+324:312.text seed=188:193.noise_seed steps=188:192.steps+324:320.steps
    width=149.value height=150.value pictures=32.image+174.mask+175.mask audio=24.audio+90.audio
video_humo: prompt=6.text negative_prompt=7.text seed=64.seed steps=64.steps width=65.width height=65.height
    pictures=49.image audio=58.audio
video_kandinsky5_t2v: prompt=12:7.text negative_prompt=12:2.text seed=12:8.seed steps=12:8.steps width=12:5.width
    height=12:5.height
video_ltx2_t2v: prompt=92:3.text negative_prompt=92:4.text seed=92:11.noise_seed steps=92:9.steps width=92:89.width
    height=92:89.height
video_wan_vace_14B_ref2v: prompt=105.text negative_prompt=107.text seed=108.seed steps=108.steps width=109.width
    height=109.height pictures=73.image
video_causal_forcing_i2v: prompt=29:4.text negative_prompt=29:9.text seed=29:11.noise_seed steps=29:13.steps
    width=29:8.width height=29:8.height pictures=18.image
audio_ace_step_1_5_checkpoint: prompt=94.tags seed=3.seed steps=3.steps
sd3.5_large_blur: prompt=6.text seed=3.seed steps=3.steps width=33.width height=33.height pictures=57.image
template_qwen_image_illustration_lora: prompt=76:6.text negative_prompt=76:7.text seed=76:3.seed steps=76:3.steps
    width=76:58.width height=76:58.height
image_hidream_o1: prompt=171.value negative_prompt=188.text seed=108.noise_seed steps=112.steps width=156.width
    height=156.height pictures=213.image
video_wan_animate2: prompt=261:3.text negative_prompt=261:4.text seed=261:19.noise_seed steps=261:18.steps
    width=261:243.resize_type.width height=261:243.resize_type.height pictures=189.image video=240.file
api_kling_v3_t2i: prompt=27.prompt negative_prompt=27.negative_prompt seed=27.seed aspect_ratio=27.aspect_ratio
api_openai_dall_e_2_t2i: prompt=10.prompt seed=10.seed size=10.size
api_runway_text_to_image: prompt=3.prompt aspect_ratio=3.ratio
api_recraft_v4_t2i: prompt=12.prompt negative_prompt=12.negative_prompt seed=12.seed size=12.model.size
api_hunyuan3d_text_to_model: prompt=2.prompt seed=2.seed
api_bfl_flux_pro_t2i: prompt=11.prompt seed=11.seed aspect_ratio=11.aspect_ratio
api_luma_photon_style_ref: prompt=24.prompt seed=24.seed aspect_ratio=24.aspect_ratio pictures=41.image+52.image
api_seedance2_0_t2v: prompt=343.model.prompt seed=343.seed aspect_ratio=343.model.ratio
api_vidu_text_to_video: prompt=16.prompt seed=16.seed aspect_ratio=16.aspect_ratio
api_wan_text_to_image: prompt=12.prompt negative_prompt=12.negative_prompt seed=12.seed width=12.width
    height=12.height
api_tripo_text_to_model: prompt=3.prompt negative_prompt=3.negative_prompt seed=3.model_seed
api_krea2_t2i: prompt=1.prompt seed=1.seed aspect_ratio=1.model.aspect_ratio
api_nano_banana_pro: prompt=35.prompt seed=35.seed aspect_ratio=35.aspect_ratio pictures=11.image+12.image
api_flux2: prompt=11.prompt seed=11.seed width=11.width height=11.height pictures=15.image+16.image+18.image+19.image
api_grok_text_to_image: prompt=2.prompt seed=2.seed aspect_ratio=2.aspect_ratio
api_minimax_h3_t2v: prompt=23.model.prompt seed=23.seed aspect_ratio=23.model.ratio
api_pixverse_i2v: prompt=4.prompt negative_prompt=4.negative_prompt seed=4.seed pictures=6.image
api_bytedance_seedream_5_0_pro_t2i: prompt=1.prompt seed=1.seed size=1.model.size_preset
api_king_o3_t2v: prompt=15.prompt seed=15.seed aspect_ratio=15.aspect_ratio
api_elevenlabs_text_to_dialogue: prompt=218.inputs.text1 seed=218.seed
"""


def labels() -> dict[str, dict[str, list[str]]]:
    """By template: role → the inputs that it should set."""
    found: dict[str, dict[str, list[str]]] = {}
    told = found.setdefault("", {})
    for line in TABLE.splitlines():
        if line.startswith("#") or not line:
            continue
        name, colon, rest = line.partition(":") if not line.startswith(" ") else ("", "", line)
        told = found.setdefault(name, {}) if colon else told
        for word in rest.split():
            role, _, inputs = word.partition("=")
            told[role] = [str(target) for target in inputs.split("+")]
    return {name: told for name, told in found.items() if name}
