//! Which share of clients has had its first byte by when.

use super::super::paper;
use super::super::report::{Responses, XL_LINUX};
use super::{
    Area, FINE_GRID, GREY, GRID, INK, OURS, OURS_TOO, PAPER, THEIRS, beside_names, failed, ms, plain, text,
};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Milliseconds.
const TIME: std::ops::Range<f64> = 0.2..6000.0;

/// What is drawn of the share: above and below there is room.
const SHARE: std::ops::Range<f64> = 0.0..104.0;

/// Colours of ours, in their order.
const COLOURS: [RGBColor; 5] = [OURS, OURS_TOO, RGBColor(0x7b, 0x4f, 0xa3), RGBColor(0x4c, 0x9f, 0xd8), INK];

pub fn draw(area: &Area<'_>, cold: &[Responses], warm: Option<&Responses>) -> Result<()> {
    let coloured = cold.iter().zip(COLOURS.into_iter().cycle());
    let cases = coloured.map(|(case, ours)| (case, if case.id == XL_LINUX { THEIRS } else { ours }, 3));
    let lines: Vec<_> = warm.map(|warm| (warm, GREY, 2)).into_iter().chain(cases).collect();
    let names = lines.iter().map(|(case, colour, width)| {
        (format!("{} ({})", case.what, case.samples.len()), colour.stroke_width(*width))
    });
    let mut chart = ChartBuilder::on(&beside_names(area, &names.collect::<Vec<_>>())?)
        .caption("From the DNS query to the first byte", text(20, INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(TIME.log_scale(), SHARE)
        .map_err(failed)?;
    for (from, to, _) in paper::COLD {
        let corners = [(f64::from(from), SHARE.start), (f64::from(to), SHARE.end)];
        chart.draw_series([Rectangle::new(corners, PAPER.mix(0.22).filled())]).map_err(failed)?;
    }
    chart
        .configure_mesh()
        .x_desc("milliseconds")
        .y_desc("share of the requests, %")
        .x_label_formatter(&plain)
        .y_label_formatter(&|share| format!("{share:.0}"))
        .y_labels(6)
        .y_max_light_lines(1)
        .label_style(text(13, INK))
        .axis_desc_style(text(14, INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(FINE_GRID)
        .draw()
        .map_err(failed)?;
    let names = paper::COLD.map(|(from, to, name)| {
        let middle = (f64::from(from) * f64::from(to)).sqrt();
        let style = text(12, PAPER).transform(FontTransform::Rotate270);
        Text::new(name, (middle, 2.0), style.pos(Pos::new(HPos::Left, VPos::Center)))
    });
    chart.draw_series(names).map_err(failed)?;

    for (case, colour, width) in lines {
        let line = LineSeries::new(steps(case), colour.stroke_width(width));
        chart.draw_series(line).map_err(failed)?;
    }
    Ok(())
}

/// A step for each sample, from nobody to all.
fn steps(case: &Responses) -> Vec<(f64, f64)> {
    let mut samples: Vec<u64> = case.samples.iter().map(|sample| sample.first_byte_ns).collect();
    samples.sort_unstable();
    let share = |count: usize| 100.0 * count as f64 / samples.len().max(1) as f64;
    let step = |(at, ns): (usize, &u64)| [(ms(*ns), share(at)), (ms(*ns), share(at + 1))];
    samples.iter().enumerate().flat_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Response;
    use super::*;

    #[test]
    fn each_sample_is_a_step() {
        let sample = |first_byte_ns| Response { answered_ns: None, connected_ns: None, first_byte_ns };
        let samples = [3_000_000, 1_000_000].map(sample).to_vec();
        let case = Responses { id: "a".into(), what: "a".into(), samples, failures: Vec::new() };
        assert_eq!(steps(&case), [(1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]);
    }
}
