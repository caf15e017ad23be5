import subprocess
import sys


def test_importing_the_data_layer_imports_nothing_heavy():
    code = (
        "import sys, clad.data.benchmarks, clad.data.inputs, clad.data.splits;"
        "heavy = {'torch', 'torchvision', 'scipy', 'sklearn', 'tqdm'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
