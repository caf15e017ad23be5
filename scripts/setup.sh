# Sourced by the other scripts: a virtual environment in .venv with the package installed editable.
# With $extra set to an optional dependency's name, that too. Installs again only when pyproject.toml
# has changed since.
extra=${extra:-}
stamp=.venv/.clad-installed${extra:+-$extra}
if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv || exit
fi
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    echo "Installing into .venv (PyTorch is large: this can take some minutes the first time) ..." >&2
    .venv/bin/python -m pip install --quiet --editable ".${extra:+[$extra]}" || exit
    touch "$stamp"
fi
PATH=$PWD/.venv/bin:$PATH
export PATH
