# To source before training on a CPU. A step takes some hundred megabytes; glibc gives them back to the system after each
# and asks for them again, zeroed page by page, for the next: tcmalloc keeps them (benchmarks/allocator.py).
tcmalloc="$(ldconfig -p | awk '/libtcmalloc_minimal\.so\.4/ {print $NF; exit}')"
[ -z "$tcmalloc" ] || export LD_PRELOAD="$tcmalloc" TCMALLOC_RELEASE_RATE=0
