"""What a training run is: its configuration, the settings of each stage, presets."""
