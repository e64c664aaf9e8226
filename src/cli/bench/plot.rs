//! The figures as a picture: a small chart for each mechanism, a line for each number of hosts.

use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, DrawingBackend, IntoDrawingArea as _, LineSeries, RGBColor, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::{Color as _, IntoFont as _, TextStyle};
use tillward_hsm::trial::{Cell, Plan, Work};

/// Told apart by people who see colours differently (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const COLUMNS: usize = 3;
const WIDTH: u32 = 400;
const HEIGHT: u32 = 250;
const HEADER: u32 = 76;
const FOOTER: u32 = 30;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotDrawn(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for NotDrawn {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// Writes the SVG file.
pub(super) fn draw(path: &Path, module: &str, plan: &Plan, cells: &[Cell]) -> Result<(), NotDrawn> {
    let columns = plan.works.len().clamp(1, COLUMNS);
    let rows = plan.works.len().div_ceil(columns);
    let span = |count: usize, size: u32| u32::try_from(count).unwrap_or(1).saturating_mul(size);
    // A chart of one mechanism still has room for its legend.
    let width = span(columns, WIDTH).max(2 * WIDTH);
    let root = SVGBackend::new(path, (width, HEADER + span(rows, HEIGHT) + FOOTER)).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, rest) = root.split_vertically(HEADER);
    let (charts, footer) = rest.split_vertically(span(rows, HEIGHT));
    legend(&header, module, plan)?;
    let grey = RGBColor(90, 90, 90);
    let small = TextStyle::from(("sans-serif", 15).into_font()).color(&grey);
    footer.draw(&Text::new("Across: sessions in each host. Up: operations a second, over all sessions of all hosts.", (20, 6), small))?;
    for (area, work) in charts.split_evenly((rows, columns)).iter().zip(&plan.works) {
        chart(area, *work, plan, cells)?;
    }
    Ok(root.present()?)
}

fn legend<D: DrawingBackend>(area: &DrawingArea<D, Shift>, module: &str, plan: &Plan) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let title = TextStyle::from(("sans-serif", 22).into_font());
    area.draw(&Text::new(format!("Operations a second on scratch keys: {module}"), (20, 10), title))?;
    let mut at = 20;
    for (hosts, colour) in plan.hosts.iter().zip(COLOURS.iter().cycle()) {
        area.draw(&Rectangle::new([(at, 48), (at + 22, 54)], colour.filled()))?;
        let text = if *hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") };
        area.draw(&Text::new(text, (at + 30, 43), TextStyle::from(("sans-serif", 16).into_font())))?;
        at += 110;
    }
    Ok(())
}

fn chart<D: DrawingBackend>(
    area: &DrawingArea<D, Shift>,
    work: Work,
    plan: &Plan,
    cells: &[Cell],
) -> Result<(), DrawingAreaErrorKind<D::ErrorType>> {
    let of_work = |hosts: u16| cells.iter().filter(move |cell| cell.work == work && cell.hosts == hosts);
    let most = plan.hosts.iter().flat_map(|hosts| of_work(*hosts)).map(|cell| cell.per_second).max().unwrap_or(0).max(1);
    let last = i32::try_from(plan.sessions.len()).unwrap_or(1) - 1;
    let mut chart = ChartBuilder::on(area)
        .caption(work.title(), ("sans-serif", 16))
        .margin(10)
        .margin_right(24)
        .x_label_area_size(24)
        .y_label_area_size(58)
        // The numbers of sessions stand at equal distances; a single one stands in the middle.
        .build_cartesian_2d(if last == 0 { -1..1 } else { 0..last }, 0..most.saturating_add(most / 8).max(2))?;
    let number = |at: &i32| usize::try_from(*at).ok().and_then(|at| plan.sessions.get(at)).map(u16::to_string).unwrap_or_default();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_labels(plan.sessions.len())
        .y_labels(5)
        .x_label_formatter(&number)
        .y_label_formatter(&|rate| thousands(*rate))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (hosts, colour) in plan.hosts.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(i32, u64)> = (0..).zip(of_work(*hosts)).map(|(at, cell)| (at, cell.per_second)).collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    Ok(())
}

fn thousands(rate: u64) -> String {
    match rate {
        0..10_000 => rate.to_string(),
        _ if rate.is_multiple_of(1000) => format!("{}k", rate / 1000),
        _ => format!("{}.{}k", rate / 1000, rate % 1000 / 100),
    }
}
