//! Requests per second, a bar for each run.

use super::super::report::Http;
use super::{Area, GRID, INK, OURS, THEIRS, failed, text};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Who is ours.
const WWW: &str = "www";

pub fn draw(area: &Area<'_>, http: &[Http]) -> Result<()> {
    let most = http.iter().map(Http::per_second).fold(1.0, f64::max);
    let count = http.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("A page by HTTP: requests per second of instruction time, one processor", text(20, INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..most * 1.15, 0.0..count)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc("requests per second: client, bridge, hypervisor and server together")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .label_style(text(13, INK))
        .axis_desc_style(text(14, INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    for (at, run) in http.iter().enumerate() {
        // From the top.
        let middle = count - 0.5 - at as f64;
        let colour = if run.server == WWW { OURS } else { THEIRS };
        let corners = [(0.0, middle - 0.3), (run.per_second(), middle + 0.3)];
        chart.draw_series([Rectangle::new(corners, colour.filled())]).map_err(failed)?;
        let connections = if run.connections == 1 { "connection" } else { "connections" };
        let name = format!("{}, {} {connections}", run.server, run.connections);
        let figure = format!("{:.0}", run.per_second());
        let left = text(13, INK).pos(Pos::new(HPos::Left, VPos::Center));
        let right = text(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
        let beside = |x: f64, offset: i32, what: String, style| {
            EmptyElement::at((x, middle)) + Text::new(what, (offset, 0), style)
        };
        chart.plotting_area().draw(&beside(run.per_second(), 6, figure, left)).map_err(failed)?;
        chart.plotting_area().draw(&beside(0.0, -8, name, right)).map_err(failed)?;
    }
    Ok(())
}
