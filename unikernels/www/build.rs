//! Links the binary as a flat ARM zImage; the linker script is the runtime's.

fn main() {
    let script = "../runtime/zimage.ld";
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rerun-if-env-changed=UNIKERNEL_ELF");
    println!("cargo::rustc-link-arg-bins=-T{}/{script}", env!("CARGO_MANIFEST_DIR"));
    // An ELF file with symbols instead, to look up the addresses that a crash prints.
    if std::env::var_os("UNIKERNEL_ELF").is_none() {
        println!("cargo::rustc-link-arg-bins=--oformat=binary");
    }
}
