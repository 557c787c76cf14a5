//! What a network has learned, out of the device and into it, in the order of files.

use std::collections::BTreeMap;

use alexnet_ops::Device;

use super::{Network, Parameter};
use crate::order::{to_device, to_file};
use crate::plan::ParameterSpec;

/// A named array in the order of files.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, last index fastest.
    pub values: Vec<f32>,
}

/// Why arrays do not make this network's weights.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// A tensor is not there.
    #[error("tensor {name} of shape {shape:?} is missing")]
    Missing {
        /// The tensor.
        name: String,
        /// The shape it should have.
        shape: Vec<usize>,
    },
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?}, but this network needs {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor belongs to no layer.
    #[error("tensor {0} belongs to no layer of this network")]
    Unknown(String),
}

impl<D: Device> Network<D> {
    /// Weights and running statistics, in the order of files.
    pub fn weights(&self) -> Vec<Array> {
        self.arrays(|parameter| Some(&parameter.values))
    }

    /// Gradients of the last step that were kept, in the order of files: with
    /// [`Purpose::Gradients`] all.
    ///
    /// [`Purpose::Gradients`]: crate::Purpose::Gradients
    pub fn gradients(&self) -> Vec<Array> {
        self.arrays(|parameter| parameter.gradient.as_ref())
    }

    /// Momentum, in the order of files.
    pub fn velocities(&self) -> Vec<Array> {
        self.arrays(|parameter| parameter.velocity.as_ref())
    }

    /// Replaces all weights and running statistics, or none.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn set_weights(&mut self, arrays: &[Array]) -> Result<(), LoadError> {
        self.set_arrays(arrays, |parameter| Some(&mut parameter.values))?;
        self.take_frozen_norms();
        Ok(())
    }

    /// Replaces all momentum, or none.
    ///
    /// # Errors
    /// When a tensor is missing, misshapen or unknown.
    pub fn set_velocities(&mut self, arrays: &[Array]) -> Result<(), LoadError> {
        self.set_arrays(arrays, |parameter| parameter.velocity.as_mut())
    }

    fn arrays(&self, of: impl Fn(&Parameter<D>) -> Option<&D::Floats>) -> Vec<Array> {
        let mut arrays = Vec::new();
        for parameter in &self.parameters {
            let Some(floats) = of(parameter) else { continue };
            let mut values = vec![0.0; parameter.spec.len()];
            self.device.download(&mut values, floats);
            to_file(&mut values, parameter.spec.block);
            for tensor in &parameter.spec.tensors {
                let others = values.split_off(tensor.len());
                let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
                arrays.push(Array { name, shape, values: std::mem::replace(&mut values, others) });
            }
        }
        arrays
    }

    fn set_arrays(
        &mut self,
        arrays: &[Array],
        of: impl Fn(&mut Parameter<D>) -> Option<&mut D::Floats>,
    ) -> Result<(), LoadError> {
        let mut wanted = Vec::new();
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            if of(parameter).is_some() {
                wanted.push((index, parameter.spec.clone()));
            }
        }
        check(arrays, wanted.iter().map(|(_, spec)| spec))?;
        for (index, spec) in wanted {
            let mut values = Vec::with_capacity(spec.len());
            for tensor in &spec.tensors {
                let array = arrays.iter().find(|array| array.name == tensor.name);
                values.extend_from_slice(&array.expect("checked above").values);
            }
            to_device(&mut values, spec.block);
            if let Some(floats) = of(&mut self.parameters[index]) {
                self.device.upload(floats, &values);
            }
        }
        Ok(())
    }
}

/// Whether `arrays` are exactly the tensors of `specs`.
pub(super) fn check<'s>(
    arrays: &[Array],
    specs: impl Iterator<Item = &'s ParameterSpec>,
) -> Result<(), LoadError> {
    let mut wanted = BTreeMap::new();
    wanted.extend(specs.flat_map(|spec| &spec.tensors).map(|t| (t.name.as_str(), &t.shape)));
    for array in arrays {
        let Some(shape) = wanted.remove(array.name.as_str()) else {
            return Err(LoadError::Unknown(array.name.clone()));
        };
        if *shape != array.shape || array.values.len() != shape.iter().product() {
            let (name, found) = (array.name.clone(), array.shape.clone());
            return Err(LoadError::Shape { name, found, expected: shape.clone() });
        }
    }
    match wanted.pop_first() {
        Some((name, shape)) => {
            Err(LoadError::Missing { name: name.to_owned(), shape: shape.clone() })
        }
        None => Ok(()),
    }
}
