//! Cells into types. A cell that does not fit is an error that names table, column and row.

use super::StoreError;
use crate::clock::UnixTime;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::fmt;
use std::str::FromStr;

/// One row of a table; its first column is its key.
pub(super) struct Row {
    table: &'static str,
    row: AnyRow,
}

/// A column, by name or by number.
pub(super) trait Column: sqlx::ColumnIndex<AnyRow> + fmt::Display + Copy {}
impl<T: sqlx::ColumnIndex<AnyRow> + fmt::Display + Copy> Column for T {}

impl Row {
    pub(super) fn new(table: &'static str, row: AnyRow) -> Self {
        Self { table, row }
    }

    /// The error for this cell.
    pub(super) fn corrupt(&self, column: impl Column) -> StoreError {
        let key = self
            .row
            .try_get::<String, _>(0)
            .or_else(|_| self.row.try_get::<i64, _>(0).map(|number| number.to_string()))
            .or_else(|_| self.row.try_get::<Vec<u8>, _>(0).map(|bytes| data_encoding::HEXUPPER.encode(&bytes)))
            .unwrap_or_else(|_| "unknown".to_owned());
        StoreError::Corrupt { table: self.table, column: column.to_string(), row: key }
    }

    fn get<'r, T>(&'r self, column: impl Column) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(super) fn text(&self, column: impl Column) -> Result<String, StoreError> {
        self.get(column)
    }

    pub(super) fn optional_text(&self, column: impl Column) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    /// A text through the one parser of its type.
    pub(super) fn parsed<T: FromStr>(&self, column: impl Column) -> Result<T, StoreError> {
        self.get::<&str>(column)?.parse().map_err(|_| self.corrupt(column))
    }

    pub(super) fn optional_parsed<T: FromStr>(&self, column: impl Column) -> Result<Option<T>, StoreError> {
        self.get::<Option<&str>>(column)?.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    /// A text by a function that knows the names of a life cycle.
    pub(super) fn named<T>(&self, column: impl Column, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        parse(self.get(column)?).ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: impl Column) -> Result<T, StoreError> {
        serde_json::from_str(self.get(column)?).map_err(|_| self.corrupt(column))
    }

    pub(super) fn bytes(&self, column: impl Column) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    pub(super) fn optional_bytes(&self, column: impl Column) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(column)
    }

    /// Bytes of one length only.
    pub(super) fn array<const N: usize>(&self, column: impl Column) -> Result<[u8; N], StoreError> {
        self.get::<&[u8]>(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    pub(super) fn optional_array<const N: usize>(&self, column: impl Column) -> Result<Option<[u8; N]>, StoreError> {
        self.get::<Option<&[u8]>>(column)?.map(|bytes| bytes.try_into().map_err(|_| self.corrupt(column))).transpose()
    }

    /// Bytes kept as upper-case hexadecimal.
    pub(super) fn hex(&self, column: impl Column) -> Result<Vec<u8>, StoreError> {
        data_encoding::HEXUPPER.decode(self.get::<&str>(column)?.as_bytes()).map_err(|_| self.corrupt(column))
    }

    pub(super) fn hex_array<const N: usize>(&self, column: impl Column) -> Result<[u8; N], StoreError> {
        self.hex(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    /// A whole number in the range of its type.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: impl Column) -> Result<T, StoreError> {
        T::try_from(self.get(column)?).map_err(|_| self.corrupt(column))
    }

    pub(super) fn optional_number<T: TryFrom<i64>>(&self, column: impl Column) -> Result<Option<T>, StoreError> {
        self.get::<Option<i64>>(column)?.map(|number| T::try_from(number).map_err(|_| self.corrupt(column))).transpose()
    }

    pub(super) fn time(&self, column: impl Column) -> Result<UnixTime, StoreError> {
        self.get(column).map(UnixTime)
    }

    pub(super) fn optional_time(&self, column: impl Column) -> Result<Option<UnixTime>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(UnixTime))
    }
}

/// Bytes as the database keeps them where a person may look for them.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}
