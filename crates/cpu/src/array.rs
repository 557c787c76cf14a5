//! A device's array of floats, with the other forms of it that kernels want.
//!
//! Weights are multiplied many times between two updates. A kernel that wants them in another order
//! or transformed asks for that form; it is computed when first asked for, kept in memory of its
//! own, and computed anew only after the array was written.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alexnet_ops::{ConvShape, LinearShape};

use crate::buffer::Buffer;

/// What a form is made for. The batch of a shape is set to 0: forms do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Kernels transformed for Toom-Cook tiles.
    ToomCook(ConvShape, Direction),
    /// Kernels transformed for them along one dimension only.
    ToomCookHalf(ConvShape, Direction),
    /// Kernels split into bf16 tiles for the matrix unit.
    #[cfg(target_arch = "x86_64")]
    ConvTiles(ConvShape, Direction),
    /// A linear layer's matrix in panels.
    Panels(LinearShape),
    /// The same in wide rows, of weights of so many bytes.
    WideRows(LinearShape, usize),
}

/// Which way data runs through the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From inputs to outputs.
    Forward,
    /// From output gradients to input gradients.
    Backward,
}

struct Kept {
    form: Form,
    fresh: bool,
    /// Floats, or anything else that is written over them.
    values: Buffer<f32>,
    /// What [`Array::form_about`] was told of them.
    about: Box<dyn Any + Send + Sync>,
}

/// An array of floats.
pub struct Array {
    values: Buffer<f32>,
    forms: Mutex<Vec<Kept>>,
    /// Whether forms pay that take long to make.
    pub(crate) settled: bool,
}

impl Array {
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { values: Buffer::array(len), forms: Mutex::new(Vec::new()), settled: false }
    }

    /// The `len` floats of `form`, made by `make` if the array was written since they last were.
    /// The array is the lock's until the guard is dropped.
    pub(crate) fn form(
        &self,
        form: Form,
        len: usize,
        make: impl FnOnce(&mut [f32]),
    ) -> FormGuard<'_> {
        self.form_about(form, |values| {
            values.grow(len);
            make(&mut values[..len]);
        })
    }

    /// Whether there is such a form of what the array holds now.
    pub(crate) fn has(&self, form: Form) -> bool {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.iter().any(|kept| kept.form == form && kept.fresh)
    }

    /// [`Self::form`], where `make` finds out how long it is, and something about it to be kept beside.
    pub(crate) fn form_about<T: Any + Send + Sync>(
        &self,
        form: Form,
        make: impl FnOnce(&mut Buffer<f32>) -> T,
    ) -> FormGuard<'_> {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let index = forms.iter().position(|kept| kept.form == form).unwrap_or_else(|| {
            let (values, about) = (Buffer::zeroed(0), Box::new(()));
            forms.push(Kept { form, fresh: false, values, about });
            forms.len() - 1
        });
        let kept = &mut forms[index];
        if !kept.fresh {
            kept.about = Box::new(make(&mut kept.values));
            kept.fresh = true;
        }
        FormGuard { forms, index }
    }
}

/// Read access to a form.
pub(crate) struct FormGuard<'a> {
    forms: MutexGuard<'a, Vec<Kept>>,
    index: usize,
}

impl FormGuard<'_> {
    /// What was found about the form when it was made.
    pub(crate) fn about<T: Any>(&self) -> &T {
        self.forms[self.index].about.downcast_ref().expect("each form has its own kind of remark")
    }
}

impl Deref for FormGuard<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.forms[self.index].values
    }
}

impl Deref for Array {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Array {
    /// Access to write: every kept form is stale from now on.
    fn deref_mut(&mut self) -> &mut [f32] {
        let forms = self.forms.get_mut().unwrap_or_else(PoisonError::into_inner);
        forms.iter_mut().for_each(|kept| kept.fresh = false);
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: LinearShape = LinearShape { batch: 0, inputs: 1, outputs: 2 };

    #[test]
    fn a_form_is_made_once_and_again_after_the_array_was_written() {
        let mut array = Array::zeroed(2);
        let mut made = 0;
        for written in [false, false, true, false] {
            if written {
                array[0] = 3.0;
            }
            let doubled = array.form(Form::Panels(SHAPE), 2, |form| {
                made += 1;
                form.iter_mut().zip(&*array).for_each(|(form, x)| *form = 2.0 * x);
            });
            assert_eq!(doubled[0], 2.0 * array[0]);
        }
        assert_eq!(made, 2);
    }
}
