//! The report as pictures (SVG, drawn by plotters): the same bytes for the same report.
//!
//! They have a background, so that they can be read on a dark page, too. Every colour stands for the same throughout.

mod cold;
mod creation;
mod http;
mod starts;

use super::report::Report;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    Color, DrawingArea, FontDesc, FontFamily, FontStyle, IntoDrawingArea, PathElement, RGBColor, SVGBackend,
    ShapeStyle, Text, TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Ours.
const OURS: RGBColor = RGBColor(0x00, 0x5f, 0x9e);
/// Ours in another way.
const OURS_TOO: RGBColor = RGBColor(0x2a, 0x9d, 0x8f);
/// Xen itself, and what is only there to compare with.
const GREY: RGBColor = RGBColor(0x75, 0x75, 0x75);
/// Xen's tools, and Linux.
const THEIRS: RGBColor = RGBColor(0xc4, 0x45, 0x36);
/// The paper's.
const PAPER: RGBColor = RGBColor(0x8a, 0x6d, 0x1d);
/// Text, and lines that frame a picture.
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Lines inside.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const FINE_GRID: RGBColor = RGBColor(0xf0, 0xf0, 0xf0);

/// Pixels.
const WIDTH: u32 = 1000;
const HEIGHT: u32 = 480;
/// Of the width, what the names of lines have, right of them.
const NAMES_WIDTH: i32 = 290;

/// A drawing area of a picture.
type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;

/// All pictures that the report has figures for, with their files' names.
///
/// # Errors
/// When one cannot be drawn.
pub fn all(report: &Report) -> Result<Vec<(&'static str, String)>> {
    let mut pictures = Vec::new();
    if let Some(creation) = &report.creation {
        pictures.push(("creation.svg", draw(|area| creation::draw(area, creation))?));
    }
    if let Some(starts) = &report.starts {
        pictures.push(("starts.svg", draw(|area| starts::draw(area, starts))?));
    }
    if !report.cold.is_empty() {
        pictures.push(("cold.svg", draw(|area| cold::draw(area, &report.cold, report.warm.as_ref()))?));
    }
    if !report.http.is_empty() {
        pictures.push(("http.svg", draw(|area| http::draw(area, &report.http))?));
    }
    Ok(pictures)
}

fn draw(content: impl Fn(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        content(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Drawing into memory does not fail; its error has no other type than that of what is drawn.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

/// Text of so many pixels. Whoever looks has some font without serifs.
fn text(size: i32, colour: RGBColor) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(size), FontStyle::Normal);
    TextStyle { color: colour.to_backend_color(), ..TextStyle::from(font) }
}

/// The left part of a picture, for lines whose names are written into the right part from the top, in this order.
fn beside_names<'s>(area: &Area<'s>, names: &[(String, ShapeStyle)]) -> Result<Area<'s>> {
    let (top, apart) = (52, 24);
    let (lines, right) = area.split_horizontally(WIDTH as i32 - NAMES_WIDTH);
    for (at, (name, style)) in (0..).zip(names) {
        let y = top + at * apart;
        right.draw(&PathElement::new([(4, y), (28, y)], *style)).map_err(failed)?;
        let style = text(13, INK).pos(Pos::new(HPos::Left, VPos::Center));
        right.draw(&Text::new(name.as_str(), (36, y), style)).map_err(failed)?;
    }
    Ok(lines)
}

/// Milliseconds.
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// A number on an axis of powers, without zeros that say nothing.
fn plain(value: &f64) -> String {
    if *value >= 1.0 { format!("{value:.0}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change on purpose: `cargo xtask bench --from xtask/src/bench/golden/bench.json --out` that folder, and look.
    #[test]
    fn the_pictures_are_as_they_were() {
        let report = serde_json::from_str(crate::bench::report::tests::GOLDEN).unwrap();
        let expected = [
            ("creation.svg", include_str!("golden/creation.svg")),
            ("starts.svg", include_str!("golden/starts.svg")),
            ("cold.svg", include_str!("golden/cold.svg")),
            ("http.svg", include_str!("golden/http.svg")),
        ];
        let drawn = all(&report).unwrap();
        assert_eq!(drawn.len(), expected.len());
        for ((name, svg), (expected_name, expected)) in drawn.iter().zip(expected) {
            assert!(name == &expected_name && svg == expected, "{name} is another one");
            roxmltree::Document::parse(svg).unwrap();
        }
    }

    #[test]
    fn numbers_on_axes_are_short() {
        assert_eq!([0.1, 1.0, 1000.0].map(|value| plain(&value)), ["0.1", "1", "1000"]);
    }
}
