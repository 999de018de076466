import subprocess
import sys

LOADED = """
import sys
before = set(sys.modules)
import labkit
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""


def test_importing_labkit_loads_no_other_package():
    loaded = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == ["labkit"]
