"""What a training step needs beside the model: losses, regularisers, sampling of views, memory. No Nerfstudio in here."""
