"""A wheel of a package that holds nothing but files, for the local package index of the tests."""

import io
import zipfile


def make_wheel(package: str, version: str, members: dict[str, bytes]) -> tuple[str, bytes]:
    """File name and bytes."""
    stem = f"{package.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as wheel:
            for name, data in members.items():
                wheel.writestr(name, data)
        return f"{stem}-py3-none-any.whl", file.getvalue()
