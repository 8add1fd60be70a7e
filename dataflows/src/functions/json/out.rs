//! Results of a function over JSONB, put together as a column.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Int32Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion_common::{DataFusionError, Result};

use super::{Gives, Value};

impl Gives {
    /// The column of such results.
    pub fn field(self, name: &str) -> Field {
        let list = |item: Field| Field::new(name, DataType::List(Arc::new(item)), true);
        match self {
            Gives::Json => schemas::jsonb_field(name, true),
            Gives::Text => Field::new(name, DataType::Utf8, true),
            Gives::Flag => Field::new(name, DataType::Boolean, true),
            Gives::Number => Field::new(name, DataType::Int32, true),
            Gives::Jsons | Gives::Texts | Gives::Members | Gives::TextMembers => list(self.item()),
        }
    }

    fn item(self) -> Field {
        match self {
            Gives::Jsons => schemas::jsonb_field("item", true),
            Gives::Members | Gives::TextMembers => Field::new("item", DataType::Struct(self.members()), true),
            _ => Field::new("item", DataType::Utf8, true),
        }
    }

    fn members(self) -> Fields {
        let value = match self {
            Gives::Members => schemas::jsonb_field("value", true),
            _ => Field::new("value", DataType::Utf8, true),
        };
        vec![Field::new("key", DataType::Utf8, true), value].into()
    }
}

/// A column in the making.
pub(super) enum Builder {
    Text(StringBuilder),
    Flag(BooleanBuilder),
    Number(Int32Builder),
    List(ListBuilder<StringBuilder>),
    Members(ListBuilder<StructBuilder>),
}

impl Builder {
    pub fn new(gives: Gives) -> Builder {
        match gives {
            Gives::Json | Gives::Text => Builder::Text(StringBuilder::new()),
            Gives::Flag => Builder::Flag(BooleanBuilder::new()),
            Gives::Number => Builder::Number(Int32Builder::new()),
            Gives::Jsons | Gives::Texts => {
                Builder::List(ListBuilder::new(StringBuilder::new()).with_field(gives.item()))
            }
            Gives::Members | Gives::TextMembers => {
                let parts: Vec<Box<dyn ArrayBuilder>> =
                    vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())];
                let members = StructBuilder::new(gives.members(), parts);
                Builder::Members(ListBuilder::new(members).with_field(gives.item()))
            }
        }
    }

    /// Appends the result of a row.
    pub fn push(&mut self, value: Value) -> Result<()> {
        match (self, value) {
            (Builder::Text(out), Value::Text(text)) => {
                if out.values_slice().len().saturating_add(text.len()) > i32::MAX as usize {
                    let message = "the results of a batch are too large".to_owned();
                    return Err(DataFusionError::Execution(message));
                }
                out.append_value(text);
            }
            (Builder::Text(out), Value::Null) => out.append_null(),
            (Builder::Flag(out), Value::Flag(value)) => out.append_value(value),
            (Builder::Flag(out), Value::Null) => out.append_null(),
            (Builder::Number(out), Value::Number(value)) => out.append_value(value),
            (Builder::Number(out), Value::Null) => out.append_null(),
            (Builder::List(out), Value::List(items)) => {
                items.into_iter().for_each(|item| out.values().append_option(item));
                out.append(true);
            }
            (Builder::List(out), Value::Null) => out.append(false),
            (Builder::Members(out), Value::Members(members)) => {
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
            (Builder::Members(out), Value::Null) => out.append(false),
            (_, value) => return Err(DataFusionError::Internal(format!("a result is {value:?}"))),
        }
        Ok(())
    }

    pub fn finish(self) -> ArrayRef {
        match self {
            Builder::Text(mut out) => Arc::new(out.finish()),
            Builder::Flag(mut out) => Arc::new(out.finish()),
            Builder::Number(mut out) => Arc::new(out.finish()),
            Builder::List(mut out) => Arc::new(out.finish()),
            Builder::Members(mut out) => Arc::new(out.finish()),
        }
    }
}
