"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Task = Literal["sr", "denoise", "jpeg"]
BackendName = Literal["auto", "eager", "compiled", "openvino", "onnx"]
Precision = Literal["auto", "fp32", "bf16", "int8", "int8-bf16"]

Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="IN...", help="Images, folders of images, patterns, videos; - for standard input."),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Output file (for one image) or folder; - for standard output.")
]
WeightsName = Annotated[str, typer.Option("--weights", "-w", help="Weights: a name from `msrn weights`, or a file.")]
Tile = Annotated[int, typer.Option("--tile", "-t", min=0, help="Tile side in output pixels; 0 = automatic.")]
Device = Annotated[str, typer.Option("--device", "-g", help="auto, cpu, cuda, cuda:1, mps.")]
BackendOption = Annotated[BackendName, typer.Option("--backend", help="What computes the network.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Computing type of the network.")]
TTA = Annotated[bool, typer.Option("--tta", "-x", help="Average eight flips and rotations (8× the time).")]
Strength = Annotated[float, typer.Option("--strength", min=0, max=1, help="Share of the network's changes to apply.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search folders recursively.")]
Videos = Annotated[bool, typer.Option("--videos", help="Restore the videos in folders, too.")]
Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, max=64, help="Files decoded and files encoded beside the network.")
]
Suffix = Annotated[str, typer.Option("--suffix", help="Added to output names, for example _restored.")]
FullNames = Annotated[
    bool, typer.Option("--full-names", help="Keep extensions in output names: a.jpg becomes a.jpg.png.")
]
Extension = Annotated[str | None, typer.Option("--ext", help="Output format: png, jpg, webp, tif, bmp; mp4, mov, mkv.")]
Quality = Annotated[int, typer.Option("--quality", min=1, max=100, help="Quality of JPEG and WebP output.")]
Subsampling = Annotated[
    Literal["4:4:4", "4:2:2", "4:2:0"], typer.Option("--subsampling", help="Chroma of JPEG output.")
]
MaxPixels = Annotated[int, typer.Option("--max-pixels", min=1, help="Refuse larger images.")]
MaxBytes = Annotated[int, typer.Option("--max-bytes", min=1, help="Refuse larger files.")]
MaxFrames = Annotated[int, typer.Option("--max-frames", min=1, help="Refuse longer videos.")]
MaxSeconds = Annotated[
    float, typer.Option("--max-seconds", min=0.1, help="Give a file of a batch up that takes longer to decode.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave existing outputs as they are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be written; forecast time and memory.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first image that fails.")]
Strip = Annotated[
    bool, typer.Option("--strip-metadata", help="Do not copy EXIF, XMP, IPTC, colour profile, texts and resolution.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what was chosen and why.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages but errors.")]
DataRoot = Annotated[
    Path, typer.Option("--data-root", help="Where the recipe's image folders are, or a file from `msrn pack`.")
]
