//! Builder of the result column of a function over JSONB.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Int32Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion_common::{DataFusionError, Result};

use super::{JsonResult, JsonType};

impl JsonType {
    /// Returns the field of a column of such results.
    pub fn field(self, name: &str) -> Field {
        match self {
            JsonType::Json => schemas::jsonb_field(name, true),
            JsonType::Text => Field::new(name, DataType::Utf8, true),
            JsonType::Flag => Field::new(name, DataType::Boolean, true),
            JsonType::Number => Field::new(name, DataType::Int32, true),
            JsonType::Jsons | JsonType::Texts | JsonType::Members | JsonType::TextMembers => {
                Field::new(name, DataType::List(Arc::new(self.item_field())), true)
            }
        }
    }

    fn item_field(self) -> Field {
        match self {
            JsonType::Jsons => schemas::jsonb_field("item", true),
            JsonType::Members | JsonType::TextMembers => {
                Field::new("item", DataType::Struct(self.member_fields()), true)
            }
            _ => Field::new("item", DataType::Utf8, true),
        }
    }

    fn member_fields(self) -> Fields {
        let value = match self {
            JsonType::Members => schemas::jsonb_field("value", true),
            _ => Field::new("value", DataType::Utf8, true),
        };
        vec![Field::new("key", DataType::Utf8, true), value].into()
    }
}

/// Builder of a column of results.
pub(super) enum JsonColumnBuilder {
    Text(StringBuilder),
    Flag(BooleanBuilder),
    Number(Int32Builder),
    List(ListBuilder<StringBuilder>),
    Members(ListBuilder<StructBuilder>),
}

impl JsonColumnBuilder {
    pub fn new(gives: JsonType) -> JsonColumnBuilder {
        match gives {
            JsonType::Json | JsonType::Text => JsonColumnBuilder::Text(StringBuilder::new()),
            JsonType::Flag => JsonColumnBuilder::Flag(BooleanBuilder::new()),
            JsonType::Number => JsonColumnBuilder::Number(Int32Builder::new()),
            JsonType::Jsons | JsonType::Texts => {
                JsonColumnBuilder::List(ListBuilder::new(StringBuilder::new()).with_field(gives.item_field()))
            }
            JsonType::Members | JsonType::TextMembers => {
                let parts: Vec<Box<dyn ArrayBuilder>> =
                    vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())];
                let members = StructBuilder::new(gives.member_fields(), parts);
                JsonColumnBuilder::Members(ListBuilder::new(members).with_field(gives.item_field()))
            }
        }
    }

    /// Appends the result of a row.
    pub fn push(&mut self, value: JsonResult) -> Result<()> {
        match (self, value) {
            (JsonColumnBuilder::Text(out), JsonResult::Text(text)) => {
                if out.values_slice().len().saturating_add(text.len()) > i32::MAX as usize {
                    let message = "the results of a batch are too large".to_owned();
                    return Err(DataFusionError::Execution(message));
                }
                out.append_value(text);
            }
            (JsonColumnBuilder::Text(out), JsonResult::Null) => out.append_null(),
            (JsonColumnBuilder::Flag(out), JsonResult::Flag(value)) => out.append_value(value),
            (JsonColumnBuilder::Flag(out), JsonResult::Null) => out.append_null(),
            (JsonColumnBuilder::Number(out), JsonResult::Number(value)) => out.append_value(value),
            (JsonColumnBuilder::Number(out), JsonResult::Null) => out.append_null(),
            (JsonColumnBuilder::List(out), JsonResult::List(items)) => {
                for item in items {
                    out.values().append_option(item);
                }
                out.append(true);
            }
            (JsonColumnBuilder::List(out), JsonResult::Null) => out.append(false),
            (JsonColumnBuilder::Members(out), JsonResult::Members(members)) => {
                for (name, value) in members {
                    let item = out.values();
                    if let Some(names) = item.field_builder::<StringBuilder>(0) {
                        names.append_value(name);
                    }
                    if let Some(values) = item.field_builder::<StringBuilder>(1) {
                        values.append_option(value);
                    }
                    item.append(true);
                }
                out.append(true);
            }
            (JsonColumnBuilder::Members(out), JsonResult::Null) => out.append(false),
            (_, value) => return Err(DataFusionError::Internal(format!("a result is {value:?}"))),
        }
        Ok(())
    }

    pub fn finish(self) -> ArrayRef {
        match self {
            JsonColumnBuilder::Text(mut out) => Arc::new(out.finish()),
            JsonColumnBuilder::Flag(mut out) => Arc::new(out.finish()),
            JsonColumnBuilder::Number(mut out) => Arc::new(out.finish()),
            JsonColumnBuilder::List(mut out) => Arc::new(out.finish()),
            JsonColumnBuilder::Members(mut out) => Arc::new(out.finish()),
        }
    }
}
