//! `cargo xtask unikernel pack`: appends a folder of web pages to the unikernel `www` (the crate `site`).

use crate::fail::{Class, Fail};
use crate::ui::{self, human_bytes};
use crate::{cross, paths};
use anyhow::{Context, Result};
use site::pack::{Dates, Options, Packed};
use std::path::{Path, PathBuf};

/// Turn a folder of web pages into an image: put it into unikernels/ on the card, and name it as a service's kernel.
/// The same folder and server give the same bytes. What begins with a dot is left out, but for .well-known.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask unikernel pack site/ -o mysite.img\n  \
                        cargo xtask unikernel pack site/ -o mysite.img --gzip --kernel www")]
pub struct Args {
    /// The folder; its index.html is what / shows
    folder: PathBuf,
    /// The image to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Also keep files compressed where that saves a tenth, for clients that take it
    #[arg(long)]
    gzip: bool,
    /// Tell clients when each file was modified. Without, all have the date SOURCE_DATE_EPOCH if that is set
    #[arg(long)]
    modified: bool,
    /// The web server: the unikernel www, or an image that was packed before [default: www, built here]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

/// Packs and says what has become of it.
///
/// # Errors
/// When there is no such folder, something in it cannot be served, or it is too large.
pub fn run(args: &Args) -> Result<()> {
    let dates = if args.modified { Dates::Modified } else { epoch()? };
    let options = Options { gzip: args.gzip, dates };
    let (name, server) = match &args.kernel {
        Some(path) => (path.display().to_string(), paths::read(path).map_err(input)?),
        None => ("www".to_owned(), built()?),
    };
    let (packed, image) = site_image(&args.folder, &options, &name, &server)?;
    paths::write_atomic(&args.output, &image)?;
    say(args, &packed, image.len());
    println!("{}", args.output.display());
    Ok(())
}

/// An archive of the folder, and the image of `server` with it; `name` is the server's, for messages.
///
/// # Errors
/// As [`run`].
pub fn site_image(folder: &Path, options: &Options, name: &str, server: &[u8]) -> Result<(Packed, Vec<u8>)> {
    // Before the work is done for nothing.
    site::kernel(server).with_context(|| format!("kernel {name}")).map_err(input)?;
    let task = ui::Task::start(format!("packing {}", folder.display()));
    let packed = site::pack::pack(folder, options, |file, length| {
        task.describe(format!("packing {file}, {}", human_bytes(length)));
    });
    drop(task);
    let packed = packed.map_err(|error| input(error.into()))?;
    let image =
        site::append(server, &packed.archive).with_context(|| format!("kernel {name}")).map_err(input)?;
    Ok((packed, image))
}

fn say(args: &Args, packed: &Packed, image: usize) {
    let Packed { files, bytes, compressed: (count, before, after), left_out, has_index, .. } = packed;
    let gzip = match count {
        0 => String::new(),
        count => format!("; {count} also compressed, {} to {}", human_bytes(*before), human_bytes(*after)),
    };
    ui::say(format!(
        "{files} files, {}{gzip}; the image has {}",
        human_bytes(*bytes),
        human_bytes(image as u64)
    ));
    for path in left_out {
        ui::say(format!("left out: {}", path.display()));
    }
    if !has_index {
        let folder = args.folder.display();
        ui::say(format!("there is no index.html in {folder}: / will be answered by 404"));
    }
    let stem = args.output.file_stem().unwrap_or_default().to_string_lossy();
    let kernel = args.output.file_name().unwrap_or_default().to_string_lossy();
    ui::say(format!(
        "in jitsu.toml, with the file in unikernels/ on the card:\n\n\
         [[service]]\nname = \"{stem}\"\nkernel = \"{kernel}\"\nmemory = {}\n",
        memory(image)
    ));
}

/// MiB that a service with an image of so many bytes needs: what `jitsud` asks for.
fn memory(image: usize) -> usize {
    /// The page tables in front of it, and what a guest needs behind it.
    const BESIDE_IMAGE: usize = 0x8000 + (3 << 19);
    (image + BESIDE_IMAGE).div_ceil(1 << 20)
}

/// The web server of this checkout.
fn built() -> Result<Vec<u8>> {
    cross::unikernels(None)?.remove("www").context("the workspace of unikernels has no www")
}

/// What `SOURCE_DATE_EPOCH` says (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn epoch() -> Result<Dates> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(Dates::Unknown) };
    let seconds = value.to_str().and_then(|value| value.parse().ok());
    seconds.map(Dates::All).ok_or_else(|| {
        let message = format!("SOURCE_DATE_EPOCH is {value:?}: set it to seconds since 1970, or unset it");
        Fail::new(Class::Input, message)
    })
}

/// An error that is the user's to mend.
fn input(error: anyhow::Error) -> anyhow::Error {
    Fail::new(Class::Input, format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fail::class_of;
    use std::fs;

    #[test]
    fn mistakes_are_the_users() {
        let folder = tempfile::tempdir().expect("folder");
        let options = Options::default();
        let refused = |server: &[u8]| site_image(folder.path(), &options, "kernel", server).unwrap_err();
        let error = refused(b"no kernel");
        assert_eq!(class_of(&error), Some(Class::Input));
        assert_eq!(error.to_string(), "kernel kernel: it is no ARM zImage: take the unikernel www");
        let args = Args {
            folder: folder.path().to_owned(),
            output: folder.path().join("image"),
            gzip: false,
            modified: false,
            kernel: Some(folder.path().join("absent")),
        };
        let error = run(&args).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
        assert_eq!(class_of(&error), Some(Class::Input));
        assert!(fs::read_dir(folder.path()).expect("folder").next().is_none());
    }

    #[test]
    fn a_service_has_the_memory_that_its_image_needs() {
        assert_eq!((memory(0x7_8000), memory(0x7_8001), memory(10 << 20)), (2, 3, 12));
    }
}
