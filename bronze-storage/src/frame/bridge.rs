//! Arrays between arrow-rs and polars-arrow, by the Arrow C data interface.
//!
//! The two libraries are different types for the same memory. The interface
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>) is a pair of C structs with a
//! release callback: the buffers stay where they are, and go when their last reader lets go of
//! them. This is the only file of the workspace with `unsafe`; everything it does is a change of
//! the name of one of these structs, and the import of what was exported a line before.
#![allow(
    unsafe_code,
    reason = "the Arrow C data interface is imported by unsafe functions; exercised by the \
              round-trip property test in tests/polars.rs"
)]

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef, make_array};
use arrow_schema::DataType;
use polars_arrow::array::Array as PolarsArray;
use polars_arrow::datatypes::{ArrowDataType, Field as PolarsField};
use polars_arrow::ffi::{ArrowArray, ArrowSchema};

use crate::error::BoxError;

// Both sides declare the C structs of the interface; they cannot differ in size.
const _: () = assert!(size_of::<FFI_ArrowArray>() == size_of::<ArrowArray>());
const _: () = assert!(align_of::<FFI_ArrowArray>() == align_of::<ArrowArray>());
const _: () = assert!(size_of::<FFI_ArrowSchema>() == size_of::<ArrowSchema>());
const _: () = assert!(align_of::<FFI_ArrowSchema>() == align_of::<ArrowSchema>());

/// An arrow-rs array as polars sees it; the buffers are shared.
pub(super) fn to_polars(array: &dyn Array) -> Result<Box<dyn PolarsArray>, BoxError> {
    let dtype = type_to_polars(array.data_type())?;
    let exported = FFI_ArrowArray::new(&array.to_data());
    // SAFETY: both types are `repr(C)` declarations of the interface's `struct ArrowArray`, field
    // by field; the value is moved, so that exactly one side runs the release callback.
    let exported: ArrowArray = unsafe { std::mem::transmute(exported) };
    // SAFETY: the struct was exported by arrow-rs above from a valid array, and `dtype` is that
    // array's own type, exported beside it.
    Ok(unsafe { polars_arrow::ffi::import_array_from_c(exported, dtype) }?)
}

/// A polars array as arrow-rs sees it; the buffers are shared, unless they lie below the alignment
/// that arrow-rs wants.
pub(super) fn from_polars(array: Box<dyn PolarsArray>) -> Result<ArrayRef, BoxError> {
    let data_type = type_from_polars(array.dtype())?;
    let exported = polars_arrow::ffi::export_array_to_c(array);
    // SAFETY: as in `to_polars`, the other way round.
    let exported: FFI_ArrowArray = unsafe { std::mem::transmute(exported) };
    // SAFETY: the struct was exported by polars-arrow above from a valid array, and `data_type` is
    // that array's own type.
    let data = unsafe { arrow_array::ffi::from_ffi_and_data_type(exported, data_type) }?;
    Ok(make_array(data))
}

/// An arrow-rs type as polars-arrow spells it.
pub(super) fn type_to_polars(data_type: &DataType) -> Result<ArrowDataType, BoxError> {
    let exported = FFI_ArrowSchema::try_from(data_type)?;
    // SAFETY: both types are `repr(C)` declarations of the interface's `struct ArrowSchema`; the
    // value is moved, so that exactly one side runs the release callback.
    let exported: ArrowSchema = unsafe { std::mem::transmute(exported) };
    // SAFETY: the struct was exported by arrow-rs above.
    let field = unsafe { polars_arrow::ffi::import_field_from_c(&exported) }?;
    Ok(field.dtype)
}

/// A polars-arrow type as arrow-rs spells it.
pub(super) fn type_from_polars(dtype: &ArrowDataType) -> Result<DataType, BoxError> {
    let field = PolarsField::new("".into(), dtype.clone(), true);
    let exported = polars_arrow::ffi::export_field_to_c(&field);
    // SAFETY: as in `type_to_polars`, the other way round.
    let exported: FFI_ArrowSchema = unsafe { std::mem::transmute(exported) };
    // Reading an arrow-rs `FFI_ArrowSchema` is safe code; it is released when it goes out of scope.
    Ok(DataType::try_from(&exported)?)
}
