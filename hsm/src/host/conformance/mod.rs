//! The conformance check of a module that nobody here has seen: every mechanism, attribute and template that Tillward needs is tried on scratch
//! objects, and every promise that Tillward makes about a key is tried to be broken.
//!
//! The checks are units in a fixed order; a module that takes the process down in one is asked again from the next on.

mod answers;
mod capabilities;
mod errors;
mod extras;
mod keys;
mod mark;
mod probe_templates;
mod report;
mod sessions;
mod token;
mod uses;

use super::templates::{self, Design};
use super::trial::{Out, Stage};
use crate::model::KeyKind;
use crate::trial::Wanted;
use crate::trial::wire::Event;
use crate::uri::Pkcs11Uri;
use report::Report;

type Unit = Box<dyn Fn(&Stage, &mut Report<'_>)>;

/// Runs the units from `from` on; unit 0 is module, token and login, without which there is no other. `before` is the number of objects that
/// an earlier process counted.
pub(super) fn examine(uri: &Pkcs11Uri, from: u16, before: Option<u64>, wanted: Wanted, out: &mut Out) -> std::io::Result<()> {
    let mut report = Report::new(out, 0);
    let stage = token::open(uri, from == 0, &mut report);
    report.end()?;
    let Some(stage) = stage else { return out.tell(&Event::Done) };
    let mut report = Report::new(out, 0);
    let before = token::leftovers(&stage, from == 0, before, &mut report);
    report.end()?;
    for (unit, number) in units(wanted, before).iter().zip(1_u16..) {
        if number >= from {
            let mut report = Report::new(out, number);
            unit(&stage, &mut report);
            report.end()?;
        }
    }
    stage.close();
    out.tell(&Event::Done)
}

fn units(wanted: Wanted, before: Option<u64>) -> Vec<Unit> {
    let mut units: Vec<Unit> = vec![
        Box::new(sessions::random),
        Box::new(move |stage, report| sessions::parallel(stage, usize::from(wanted.sessions), report)),
        Box::new(sessions::together),
        Box::new(sessions::after_errors),
        Box::new(capabilities::mechanisms),
        Box::new(capabilities::choices),
        Box::new(answers::self_tests),
        Box::new(answers::derivations),
        Box::new(answers::wrapping),
    ];
    for design in designs() {
        units.push(Box::new(move |stage, report| keys::examine(stage, &design, report)));
    }
    units.extend([
        Box::new(mark::examine) as Unit,
        Box::new(capabilities::templates),
        Box::new(errors::examine),
        Box::new(extras::examine),
        Box::new(sessions::log_in_again),
        Box::new(move |stage, report| token::objects(stage, before, report)),
    ]);
    if wanted.races {
        units.push(Box::new(sessions::races));
    }
    units
}

/// Every key of the design, in every form that it can have.
fn designs() -> Vec<Design> {
    let mut all: Vec<Design> = templates::FIXED.into_iter().chain(templates::OPTIONAL).flat_map(templates::designs).collect();
    for mut design in templates::designs("bdk-data:scratch:00000001") {
        design.label = format!("bdk-{}", design.bits);
        all.push(design);
    }
    for design in &mut all {
        if design.label == templates::AUDIT_SIGNING {
            let kind = if design.kind == KeyKind::Ed25519 { "ed25519" } else { "p256" };
            design.label = format!("{}-{kind}", templates::AUDIT_SIGNING);
        }
    }
    all
}
