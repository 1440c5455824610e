from setuptools import find_packages, setup

media = ["av>=14,<19", "tqdm>=4.66,<5"]
train = [
    "optax>=0.2.8,<0.3",
    "orbax-checkpoint>=0.12.8,<0.13",
    "grain>=0.2.18,<0.3",
    "array_record>=0.8,<0.9",
    "tensorboardX>=2.6,<3",
    "soundfile>=0.13,<0.15",
    "matplotlib>=3.9,<4",
    "scipy>=1.13,<2",
]
sims = ["ale-py>=0.12,<0.13", "vizdoom>=1.3,<2"]
gym = ["gymnasium>=1.0,<2"]
tpu = ["jax[tpu]>=0.10.2,<0.13"]
# The tests compile for TPUs that need not be there; the compiler comes with libtpu, for Linux on x86-64.
compiler = [f"{package}; platform_machine == 'x86_64' and sys_platform == 'linux'" for package in tpu]
notebook = ["nbclient>=0.10,<1", "ipykernel>=6.29,<8"]
test = [
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",
    "scikit-image>=0.25,<0.27",
    "ruff==0.17.6",
    "tensorboard>=2.18,<3",
    *notebook,
    *compiler,
]

setup(
    name="oyster_jax",
    version="0.1.0",
    description="Real-time interactive world models with sound, in JAX and Flax",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["oyster_jax", "oyster_jax.*"]),
    package_data={"oyster_jax": ["worlds/*/*"]},
    install_requires=[
        "jax>=0.10.2,<0.13",
        "flax>=0.12.8,<0.13",
        "numpy>=1.26,<3",
        "absl-py>=2.1,<3",
        "ml_collections>=1.1,<2",
        "safetensors>=0.5,<1",
        "platformdirs>=4.2,<5",
    ],
    extras_require={
        "media": media,
        "train": media + train,
        "sims": media + train + sims,
        "gym": gym,
        "test": media + train + sims + gym + test,
        "tpu": tpu,
        "gpu": ["jax[cuda12]>=0.10.2,<0.13"],
    },
    entry_points={"console_scripts": ["oyster=oyster_jax.cli:main"]},
)
