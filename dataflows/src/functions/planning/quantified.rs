//! `x op ANY (array)` and `x op ALL (array)`.
//!
//! ANY is TRUE if one element compares TRUE, else NULL if one compares NULL, else FALSE; ALL is FALSE if one
//! compares FALSE, else NULL if one compares NULL, else TRUE. A NULL array gives NULL; an empty one gives
//! FALSE for ANY and TRUE for ALL, for any `x`. All elements of a batch are compared at once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array};
use arrow::compute::kernels::cmp;
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Name of the function behind ANY.
pub(crate) const ANY: &str = "herald_any";
/// Name of the function behind ALL.
pub(crate) const ALL: &str = "herald_all";

/// Returns both functions: they take the value, the array, and the operator as text.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![quantified_function(false), quantified_function(true)]
}

fn quantified_function(all: bool) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Quantified { all, signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    all: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        if self.all { ALL } else { ANY }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let word = if self.all { "ALL" } else { "ANY" };
        let [value, array, _] = args else { return plan_err!("{word} takes a value and an array") };
        let item = match array {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                item.data_type().clone()
            }
            DataType::Null => value.clone(),
            _ => return plan_err!("{word} needs an array or a subquery on its right"),
        };
        let Some(both) = comparison_coercion(value, &item) else {
            return plan_err!("for comparison operation {value} = {word} of {item}");
        };
        Ok(vec![both.clone(), DataType::new_list(both, true), DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [value, array, ColumnarValue::Scalar(ScalarValue::Utf8(Some(op)))] = args.args.as_slice() else {
            return exec_err!("{} takes a value, an array and an operator", self.name());
        };
        let (value, array) = (value.to_array(rows)?, array.to_array(rows)?);
        let lists = array.as_list::<i32>();
        // One pair for each element: its row, and its index in the values of the list array.
        let (mut owners, mut places) = (Vec::new(), Vec::new());
        for row in (0..rows).filter(|row| lists.is_valid(*row)) {
            let (from, to) = (lists.value_offsets()[row], lists.value_offsets()[row + 1]);
            for place in from..to {
                owners.push(row as u64);
                places.push(u64::try_from(place).unwrap_or_default());
            }
        }
        let left = take(&value, &UInt64Array::from(owners.clone()), None)?;
        let right = take(lists.values(), &UInt64Array::from(places), None)?;
        let right = cast(&right, left.data_type())?;
        let each = compare_values(op, &left, &right)?;
        let mut out: Vec<Option<bool>> =
            (0..rows).map(|row| lists.is_valid(row).then_some(self.all)).collect();
        for (owner, result) in owners.iter().zip(each.iter()) {
            let Some(of) = out.get_mut(*owner as usize) else { continue };
            // A decided result stays; NULL is kept until an element decides.
            *of = match (*of, result) {
                (Some(decided), _) if decided != self.all => Some(decided),
                (_, Some(result)) if result != self.all => Some(result),
                (_, None) => None,
                (before, Some(_)) => before,
            };
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(out))))
    }
}

fn compare_values(op: &str, left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray> {
    Ok(match op {
        "=" => cmp::eq(left, right)?,
        "<>" | "!=" => cmp::neq(left, right)?,
        "<" => cmp::lt(left, right)?,
        "<=" => cmp::lt_eq(left, right)?,
        ">" => cmp::gt(left, right)?,
        ">=" => cmp::gt_eq(left, right)?,
        other => return exec_err!("{other} does not stand before ANY and ALL"),
    })
}
