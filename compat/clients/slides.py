"""A tiled slide, as scanners of pathology write it: one instance a level, tiles in JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

__all__ = ["ICC_PROFILE", "Level", "Slide", "make_slide"]

TILE = 256
MILLIMETRES_PER_PIXEL = 0.0005
ICC_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_ENCODINGS = {
    JPEGBaseline8Bit: {"format": "JPEG", "quality": 90, "subsampling": "4:2:2"},
    JPEG2000Lossless: {"format": "JPEG2000", "irreversible": False, "mct": 1, "no_jp2": True},
}
_PHOTOMETRIC = {
    JPEGBaseline8Bit: "YBR_FULL_422",
    JPEG2000Lossless: "YBR_RCT",
    ExplicitVRLittleEndian: "RGB",
}


@dataclass(frozen=True)
class Level:
    """An instance, and what a reader has to see of it.

    Attributes
    ----------
    tiles : list of bytes
        The encoded frames, padded to an even length as DICOM has it.
    pixels : numpy.ndarray
        The colours of the decoded tiles side by side, without what is beyond the image.
    """

    dataset: Dataset
    tiles: list[bytes]
    pixels: np.ndarray

    @property
    def content(self) -> bytes:
        buffer = io.BytesIO()
        self.dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


@dataclass(frozen=True)
class Slide:
    levels: list[Level]

    @property
    def study(self) -> str:
        return str(self.levels[0].dataset.StudyInstanceUID)

    @property
    def series(self) -> str:
        return str(self.levels[0].dataset.SeriesInstanceUID)

    @property
    def on_its_stage(self) -> np.ndarray:
        """The coarsest level, turned as the slide lies (ImageOrientationSlide)."""
        return np.rot90(self.levels[-1].pixels, 2)


def _tissue(height: int, width: int) -> np.ndarray:
    """Return an image in which no two tiles are equal: gradients, and circles of colour."""
    y, x = np.mgrid[0:height, 0:width]
    red = 255 * x / width
    green = 255 * y / height
    blue = 127 + 127 * np.sin(np.hypot(x - width / 3, y - height / 2) / 25)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def _codes(value: str, scheme: str, meaning: str) -> Sequence:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return Sequence([code])


def _optical_path() -> Dataset:
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = _codes("111744", "DCM", "Brightfield illumination")
    path.IlluminationColorCodeSequence = _codes("414298005", "SCT", "Full Spectrum")
    path.ICCProfile = ICC_PROFILE + b"\0" * (len(ICC_PROFILE) % 2)
    return path


def _shared_groups(spacing: float) -> Dataset:
    measures = Dataset()
    measures.PixelSpacing = [spacing, spacing]
    measures.SliceThickness = 0.001
    frame_type = Dataset()
    frame_type.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    optical_path = Dataset()
    optical_path.OpticalPathIdentifier = "1"
    groups = Dataset()
    groups.PixelMeasuresSequence = Sequence([measures])
    groups.WholeSlideMicroscopyImageFrameTypeSequence = Sequence([frame_type])
    groups.OpticalPathIdentificationSequence = Sequence([optical_path])
    return groups


def _specimen() -> Dataset:
    specimen = Dataset()
    specimen.SpecimenIdentifier = "S-1"
    specimen.SpecimenUID = generate_uid()
    specimen.IssuerOfTheSpecimenIdentifierSequence = Sequence([])
    specimen.SpecimenPreparationSequence = Sequence([])
    return specimen


def _cut(image: np.ndarray, syntax: str) -> tuple[list[bytes], np.ndarray]:
    """Return the encoded tiles, row by row, and the image that they decode to."""
    height, width = image.shape[:2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = np.pad(
        image, ((0, rows * TILE - height), (0, columns * TILE - width), (0, 0)), mode="edge"
    )
    seen = np.empty_like(padded)
    tiles = []
    for top in range(0, rows * TILE, TILE):
        for left in range(0, columns * TILE, TILE):
            tile = padded[top : top + TILE, left : left + TILE]
            encoded, seen[top : top + TILE, left : left + TILE] = _encode(tile, syntax)
            tiles.append(encoded)
    return tiles, seen[:height, :width]


def _encode(tile: np.ndarray, syntax: str) -> tuple[bytes, np.ndarray]:
    """Return a frame, and what it decodes to."""
    if syntax == ExplicitVRLittleEndian:
        return tile.tobytes(), tile
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, **_ENCODINGS[syntax])
    return buffer.getvalue() + b"\0" * (buffer.tell() % 2), np.asarray(Image.open(buffer))


def _level(image: np.ndarray, scale: int, syntax: str, common: dict[str, object]) -> Level:
    height, width = image.shape[:2]
    tiles, pixels = _cut(image, syntax)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    resampled = "NONE" if scale == 1 else "RESAMPLED"
    values = {
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "InstanceNumber": scale.bit_length(),
        "ImageType": ["ORIGINAL" if scale == 1 else "DERIVED", "PRIMARY", "VOLUME", resampled],
        "Rows": TILE,
        "Columns": TILE,
        "NumberOfFrames": len(tiles),
        "TotalPixelMatrixRows": height,
        "TotalPixelMatrixColumns": width,
        "PhotometricInterpretation": _PHOTOMETRIC[syntax],
        "LossyImageCompression": "01" if syntax == JPEGBaseline8Bit else "00",
        "SharedFunctionalGroupsSequence": Sequence([_shared_groups(MILLIMETRES_PER_PIXEL * scale)]),
    }
    if syntax == JPEGBaseline8Bit:
        values |= {"LossyImageCompressionRatio": 10, "LossyImageCompressionMethod": "ISO_10918_1"}
    for keyword, value in {**common, **values}.items():
        setattr(dataset, keyword, value)
    is_native = syntax == ExplicitVRLittleEndian
    dataset.add_new(0x7FE00010, "OB", b"".join(tiles) if is_native else encapsulate(tiles))
    return Level(dataset, tiles, pixels)


def make_slide(
    height: int = 900, width: int = 1300, syntax: str = JPEGBaseline8Bit, levels: int = 3
) -> Slide:
    """Return a slide whose levels are each half as wide as the one before."""
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = 20
    origin.YOffsetInSlideCoordinateSystem = 40
    organization = Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    common = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": VLWholeSlideMicroscopyImageStorage,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "PyramidUID": generate_uid(),
        "PatientName": "Müller^Änne",
        "PatientID": "SLIDE-1",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "StudyDate": "20240501",
        "StudyTime": "101500",
        "ContentDate": "20240501",
        "ContentTime": "101500",
        "AcquisitionDateTime": "20240501101500",
        "AccessionNumber": "A-1",
        "StudyID": "1",
        "SeriesNumber": 1,
        "Modality": "SM",
        "Manufacturer": "Nobody",
        "ManufacturerModelName": "Scanner",
        "DeviceSerialNumber": "1",
        "SoftwareVersions": "1",
        "PositionReferenceIndicator": "SLIDE_CORNER",
        "ContainerIdentifier": "C-1",
        "IssuerOfTheContainerIdentifierSequence": Sequence([]),
        "ContainerTypeCodeSequence": _codes("433466003", "SCT", "Microscope slide"),
        "AcquisitionContextSequence": Sequence([]),
        "SpecimenDescriptionSequence": Sequence([_specimen()]),
        "OpticalPathSequence": Sequence([_optical_path()]),
        "NumberOfOpticalPaths": 1,
        "TotalPixelMatrixFocalPlanes": 1,
        "TotalPixelMatrixOriginSequence": Sequence([origin]),
        "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
        "DimensionOrganizationSequence": Sequence([organization]),
        "DimensionOrganizationType": "TILED_FULL",
        "ImagedVolumeWidth": width * MILLIMETRES_PER_PIXEL,
        "ImagedVolumeHeight": height * MILLIMETRES_PER_PIXEL,
        "ImagedVolumeDepth": 1.0,
        "VolumetricProperties": "VOLUME",
        "FocusMethod": "AUTO",
        "ExtendedDepthOfField": "NO",
        "SpecimenLabelInImage": "NO",
        "BurnedInAnnotation": "NO",
        "BarcodeValue": "",
        "LabelText": "",
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PresentationLUTShape": "IDENTITY",
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
    }
    image = _tissue(height, width)
    made = []
    for number in range(levels):
        made.append(_level(image, 2**number, syntax, common))
        image = np.asarray(Image.fromarray(image).reduce(2))
    return Slide(made)
