//! Pictures: a PNG that is complete or absent, with a font that is built into the program.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use tensor_core::atomic_file;

/// Registers a font with plotters: a subset of DejaVu Sans is built into the program, so that
/// pictures need no system fonts.
///
/// # Errors
/// When plotters rejects the font, which does not happen with the built-in one.
pub fn load_font() -> Result<()> {
    let bytes = include_bytes!("../assets/DejaVuSans-subset.ttf");
    register_font("sans-serif", FontStyle::Normal, bytes)
        .map_err(|_| anyhow!("the built-in font cannot be read"))
}

/// Creates the folder of the picture at `path`, before the work whose result it shows.
///
/// # Errors
/// When the folder cannot be created.
pub fn create_parent_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Drawing area of a bitmap.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Writes a PNG of `size` pixels that `draw` draws on a white canvas. The file is written under a
/// temporary name and renamed, so that the picture is complete or absent.
///
/// # Errors
/// Those of `draw`, or when the file cannot be written.
pub fn write_png(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<()> {
    let draw_and_save = || -> Result<()> {
        load_font()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().suffix(".png").tempfile_in(folder)?;
        {
            let root = BitMapBackend::new(file.path(), size).into_drawing_area();
            root.fill(&WHITE)?;
            draw(&root)?;
            // The backend's error is the debug output of the cause.
            let saved = root.present();
            saved.map_err(|_| anyhow!("the file cannot be written; is the disk full?"))?;
        }
        atomic_file::write(path, &std::fs::read(file.path())?)
    };
    draw_and_save().with_context(|| format!("drawing {}", path.display()))
}
