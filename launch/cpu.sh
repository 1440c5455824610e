# To source before training on a CPU. A step takes some hundred megabytes; glibc gives them back to the system after each
# and asks for them again, zeroed page by page, for the next: tcmalloc keeps them (benchmarks/allocator.py).
# awk reads to the end: ldconfig cut short is an error to whoever sources this with pipefail.
tcmalloc="$(PATH="$PATH:/sbin" ldconfig -p | awk '/libtcmalloc_minimal\.so\.4/ && !n++ {print $NF}')"
if [ -n "$tcmalloc" ]; then
  export LD_PRELOAD="$tcmalloc${LD_PRELOAD:+:$LD_PRELOAD}" TCMALLOC_RELEASE_RATE=0
else
  echo "launch/cpu.sh: there is no tcmalloc, so training takes longer: apt-get install libtcmalloc-minimal4" >&2
fi
