"""Makes what people install: wheel, folders with all libraries, Debian's package, their SBOM."""
