"""From what a researcher has (environment.yml, requirements.txt, pixi.toml) to an image definition."""
