# The verbs of the house; `just` alone lists them. Each is a script that works without just.

_list:
    @just --list

# Everything a change must pass
test:
    ./scripts/test

# One step of it: fmt, clippy, doc, deny, rust, checks
step name *arguments:
    ./scripts/test {{ name }} {{ arguments }}

# What takes too long for every change
test-long:
    ./scripts/test-long

# What takes many minutes to show: organization, endless
soak *arguments:
    ./scripts/soak {{ arguments }}

# The figures of docs/cost.md
measure *names:
    ./scripts/measure {{ names }}

# The container image: built and tried
image *step:
    ./scripts/image {{ step }}

# What the binary is made of, as CycloneDX
sbom:
    ./scripts/sbom

# fanfold beside what people would use instead: writes docs/benchmarks.md
bench *arguments:
    ./scripts/bench {{ arguments }}

# Simulator and gateway in one process
demo:
    cargo run --release -- demo

# Puts the code in form
format:
    cargo fmt
