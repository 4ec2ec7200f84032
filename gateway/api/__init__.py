"""HTTP in, HTTP out: the Comfy API v2, templates, batches, workers, health. `app.build_app` puts it together."""
