"""``fourdgs-ns synth``: a synthetic multi-view capture with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fourdgs_ns.common.console import ERR, status


@dataclass
class Synth:
    """Generate a synthetic multi-view capture: a furnished room with moving things, rendered exactly.

    Every pose, depth, object mask, velocity and lifetime is known and written next to it. The same options give the
    same files.
    """

    out: Path
    """Folder to write. It appears only when everything in it is complete."""
    cameras: int = 8
    """Cameras of the rig. The first one stands among the others, so that holding it out asks for interpolation. With
    --layout dnerf: views in each of the splits val and test."""
    frames: int = 30
    """Frames of the clip. Motions run in seconds; the fast ball and the balloon follow the clip's length."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="W H")] = (256, 192)
    """Width and height in pixels, both even. Larger images show finer texture."""
    fps: float = 30.0
    """Frames per second, exactly constant."""
    scene: Literal["stage", "studio"] = "stage"
    """stage: seen by a frontal arc of cameras, as in Neural 3D Video. studio: seen by a dome from all around."""
    backdrop: Literal["room", "plain", "green", "gradient"] = "room"
    """Behind the things. plain, green, gradient: no room, they stand on a disc before one grey, one green, or a wall in slowly
    changing light; --scene studio has its cameras all around. Masks of easyvolcap then cut out all that stands on the disc."""
    spill: bool = False
    """With a backdrop: its light colours the outlines of what stands before it."""
    uneven: bool = False
    """With a backdrop: cameras but the first differ in exposure by up to 0.3 stops, and their corners are up to 30 % darker."""
    layout: Literal["n3dv", "easyvolcap", "transforms", "dnerf"] = "n3dv"
    """n3dv: videos and poses_bounds.npy. easyvolcap: intri.yml, extri.yml, videos and masks of what moves. transforms:
    images and transforms.json. dnerf: one camera that jumps about, RGBA images without the room."""
    images: bool = False
    """With easyvolcap: write JPEG images of quality 98 instead of videos. The last two layouts always hold images."""
    chroma: Literal["444", "420"] = "444"
    """Colour resolution of videos. 444: full, decoded frames lie about 41 dB from the render. 420: half, plays in
    browsers; sharp coloured edges then lose much (30 dB at 256x192, less loss in larger images)."""
    seed: int = 0
    """Changes textures, phases of the motions, small shifts of things and cameras."""
    ground_truth: bool = True
    """Write ground_truth/: cameras.json, scene.json, points.npz (surface points tracked over all frames), depth and
    object ids of up to five frames per camera."""
    points: bool = False
    """Write points3d.ply: about 60000 noise-free surface points with colour and time, so that training needs no
    structure from motion."""
    samples: int = 8
    """Rays per pixel, a power of two from 4 on. 4 renders almost twice as fast, with rougher edges."""
    late: tuple[str, ...] = ()
    """Cameras whose clock is late, as CAMERA=FRAMES (fractions allowed): cam03=1.4. For testing synchronisation."""
    audio: bool = False
    """Give videos sound: claps and a rustle in the middle of the scene, heard by every camera after the time that sound
    needs. For testing synchronisation."""
    overwrite: bool = False
    """Replace a folder that this command wrote before."""

    def run(self) -> None:
        """Check the options, render with a progress bar, report what was written."""
        # Compilers and video libraries load only when the command really runs.

        from fourdgs_ns.common.progress import progress_bar
        from fourdgs_ns.synth.generate import Recipe, generate
        from fourdgs_ns.synth.writers import num_views

        recipe = Recipe(
            cameras=self.cameras,
            frames=self.frames,
            width=self.size[0],
            height=self.size[1],
            fps=self.fps,
            scene=self.scene,
            layout=self.layout,
            images=self.images,
            chroma=self.chroma,
            seed=self.seed,
            ground_truth=self.ground_truth,
            points=self.points,
            samples=self.samples,
            late=self.late,
            audio=self.audio,
            backdrop=self.backdrop,
            spill=self.spill,
            uneven=self.uneven,
        )
        recipe.check()
        with progress_bar(ERR, transient=False) as progress:
            # The first view of a fresh installation takes half a minute: the kernels are compiled, then kept.
            task = progress.add_task("rendering views", total=num_views(self.layout, self.cameras, self.frames))
            generate(recipe, self.out, self.overwrite, lambda: progress.advance(task))
        size = sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        status(f"wrote {self.out} ({self.scene}, layout {self.layout}, {size / 2**20:.1f} MiB)")
