"""The camera, rotations, the training's world, view volumes and neighbours."""
