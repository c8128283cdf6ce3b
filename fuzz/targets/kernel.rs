//! Kernel files as they may lie on a card: the header of an ARM zImage, and a length that need not fit it.
//! Accepted is what a second reading of Linux's `Documentation/arch/arm/booting.rst` accepts, and no more.
#![no_main]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jitsud::config::{
    HEAD_BYTES, KernelHead, Kernels, Loaded, MAX_KERNELS, parse, probe_kernel, read_kernel,
};
use jitsud::domain::layout::{TREE_PAGES, TooLarge, place};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use nix::sys::memfd::{MFdFlags, memfd_create};
use xen_sys::layout::GUEST_RAM0_BASE;
use xen_sys::{PAGE_SHIFT, PAGE_SIZE};

const MIB: u64 = 1 << 20;

fn load(memory: u32, kernel: &KernelHead) -> Loaded {
    let text = format!(
        "[node]\naddress = \"10.0.2.15/24\"\n\
         [[service]]\nname = \"a\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\nmemory = {memory}\n"
    );
    let kernels = Kernels { card: None, probe: &|_| Ok(kernel.clone()), disk: &|_| Ok((0, 0)) };
    let draft = parse(text.as_bytes(), Path::new("jitsu.toml"), &kernels).expect("it is TOML");
    let addressing = draft.node.addressing.expect("the node has an address");
    draft.resolve(addressing, &[], Duration::ZERO)
}

/// The size of the image that the header tells of.
fn image_size(kernel: &KernelHead) -> Option<u64> {
    let word = |at: usize| kernel.head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (magic, start, end) = (word(0x24), word(0x28), word(0x2c));
    let size = u64::from(end.checked_sub(start)?);
    (magic == 0x016f_2818 && size > 0 && size <= kernel.length).then_some(size)
}

/// Kernel, ramdisk and device tree do not lie on one another, whatever the kernel says about itself.
fn check_places(memory: u64, kernel: &[u8], ramdisk: Option<u64>) {
    let ramdisk = ramdisk.map(|length| (length % (2048 * MIB)) as usize);
    let tree = TREE_PAGES << PAGE_SHIFT;
    let loaded = 0x8000 + kernel.len() as u64;
    match place(memory, kernel, ramdisk) {
        Ok(place) => {
            assert_eq!(
                place.as_ref().map(|place| place.end - place.start),
                ramdisk.map(|length| length as u64)
            );
            let place = place.map(|place| place.start - GUEST_RAM0_BASE..place.end - GUEST_RAM0_BASE);
            assert!(loaded + tree <= memory);
            if let Some(place) = place {
                assert!(place.start >= loaded && place.end <= memory - tree && place.end <= 512 * MIB);
                assert_eq!(place.start % PAGE_SIZE as u64, 0);
            }
        }
        Err(TooLarge { needed }) => assert!(needed > memory.min(512 * MIB)),
    }
}

fuzz_target!(|input: &[u8]| {
    let mut fields = Unstructured::new(input);
    let memory = fields.arbitrary::<u16>().map_or(1, |memory| u32::from(memory) % 2048 + 1);
    let alleged: Option<u64> = fields.arbitrary().unwrap_or_default();
    let file = fields.take_rest();

    let memfd = File::from(memfd_create("kernel", MFdFlags::MFD_CLOEXEC).expect("memory"));
    (&memfd).write_all(file).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", memfd.as_raw_fd()));
    let mut kernel = probe_kernel(&path).expect("a file");
    let mut head = [0; HEAD_BYTES];
    head[..file.len().min(HEAD_BYTES)].copy_from_slice(&file[..file.len().min(HEAD_BYTES)]);
    assert_eq!(kernel, KernelHead { head, length: file.len() as u64 });
    assert_eq!(*read_kernel(&path).expect("a file"), *file);

    check_places(u64::from(memory) * MIB, file, alleged);

    kernel.length = alleged.unwrap_or(kernel.length);
    let loaded = load(memory, &kernel);
    let fits = |bytes: u64| (0x8000 + bytes + (3 << 19)).div_ceil(MIB) <= u64::from(memory);
    let good = kernel.length <= MAX_KERNELS && image_size(&kernel).is_some() && fits(kernel.length);
    assert_eq!(loaded.config.services.len(), usize::from(good), "{:?}", loaded.problems);
    assert_eq!(loaded.problems.is_empty(), good);
    for problem in &loaded.problems {
        assert!((4..=7).contains(&problem.line) && problem.to_string().len() < 500, "{problem}");
    }
});
