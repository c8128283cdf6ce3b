//! Making a domain, by its memory. Both axes are logarithmic: what differs by a factor differs by a distance.

use super::super::paper;
use super::super::report::{Creation, OfSize};
use super::super::statistics::median;
use super::{
    Area, FINE_GRID, GREY, GRID, INK, OURS, OURS_TOO, PAPER, THEIRS, beside_names, failed, ms, plain, text,
};
use anyhow::Result;
use plotters::prelude::*;

/// Ranges: MiB, and milliseconds.
const MEMORY: std::ops::Range<f64> = 3.5..300.0;
const TIME: std::ops::Range<f64> = 0.3..2000.0;

/// A line: its name, its colour, its width, its points.
type Line<'n> = (&'n str, RGBColor, u32, Vec<(f64, f64)>);

pub fn draw(area: &Area<'_>, creation: &Creation) -> Result<()> {
    let sizes: Vec<f64> = creation.ours.iter().map(|size| f64::from(size.memory_mib)).collect();
    let lines: [Line<'_>; 6] = [
        ("paper: Xen 4.4's toolstack", PAPER, 1, of_paper(&paper::CREATION_XEN)),
        ("paper: its own toolstack", PAPER, 2, of_paper(&paper::CREATION)),
        ("xl create, vif-bridge", THEIRS, 2, medians(&creation.xl, |ns| *ns)),
        ("jitsud, until its interface is up", OURS_TOO, 1, medians(&creation.ours, |build| build.vif_up_ns)),
        ("jitsud, until it runs", OURS, 3, medians(&creation.ours, |build| build.unpaused_ns)),
        ("the hypervisor alone", GREY, 1, medians(&creation.hypervisor, |charge| charge.populated_ns)),
    ];
    let names =
        lines.each_ref().map(|(name, colour, width, _)| ((*name).to_owned(), colour.stroke_width(*width)));
    let mut chart = ChartBuilder::on(&beside_names(area, &names)?)
        .caption("Making a domain, by its memory", text(20, INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(MEMORY.log_scale().with_key_points(sizes), TIME.log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("memory, MiB")
        .y_desc("milliseconds")
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .label_style(text(13, INK))
        .axis_desc_style(text(14, INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(FINE_GRID)
        .draw()
        .map_err(failed)?;

    for (_, colour, width, points) in lines {
        let style = colour.stroke_width(width);
        chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(failed)?;
        let points = points.into_iter().map(|point| Circle::new(point, width + 2, colour.filled()));
        chart.draw_series(points).map_err(failed)?;
    }
    // jitsud's runs, each: most fall on one another.
    let runs = creation.ours.iter().flat_map(|size| {
        let memory = f64::from(size.memory_mib);
        size.samples.iter().map(move |build| (memory, ms(build.unpaused_ns)))
    });
    chart.draw_series(runs.map(|run| Circle::new(run, 2, OURS))).map_err(failed)?;
    Ok(())
}

fn of_paper(points: &[(u32, u32)]) -> Vec<(f64, f64)> {
    points.iter().map(|(memory, ms)| (f64::from(*memory), f64::from(*ms))).collect()
}

fn medians<T>(sizes: &[OfSize<T>], ns: impl Fn(&T) -> u64) -> Vec<(f64, f64)> {
    let median = |size: &OfSize<T>| {
        let samples: Vec<u64> = size.samples.iter().map(&ns).collect();
        Some((f64::from(size.memory_mib), ms(median(&samples)?)))
    };
    sizes.iter().filter_map(median).collect()
}
