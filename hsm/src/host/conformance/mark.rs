//! The derivation mark: a private data object that is replaced, never changed.

use cryptoki::object::AttributeType;

use super::report::{Report, fail, pass};
use crate::host::trial::Stage;
use crate::host::{object, templates};

pub(super) fn examine(stage: &Stage, report: &mut Report<'_>) {
    let label = stage.label("mark");
    report.check(
        "objects",
        "derivation mark",
        "the highest derivation id is kept on the token as a data object: it needs CKO_DATA",
        || {
            let (writer, reader) = (stage.session()?, stage.session()?);
            let read = || -> Result<Vec<Option<Vec<u8>>>, cryptoki::error::Error> {
                let found = reader.find_objects(&templates::mark_search(&label))?;
                found.into_iter().map(|mark| object::bytes(&reader, mark, AttributeType::Value)).collect()
            };
            let first = writer.create_object(&templates::mark(&label, 7))?;
            let one = read()? == [Some(vec![0, 0, 0, 7])];
            let second = writer.create_object(&templates::mark(&label, 8))?;
            let both = read()?.len() == 2;
            writer.destroy_object(first)?;
            let replaced = read()? == [Some(vec![0, 0, 0, 8])];
            writer.destroy_object(second)?;
            let gone = read()?.is_empty();
            Ok(if one && both && replaced && gone {
                pass("made, found by its label, read, replaced, destroyed")
            } else {
                fail("it was not found, not read back or not replaced: a restored database would go unnoticed")
            })
        },
    );
}
