//! What arguments each kernel takes, read from the source that is compiled. A launch compares its
//! arguments with it: a wrong order or width would otherwise be a wrong number or address on the
//! device, and nothing would say so.

use std::collections::HashMap;

/// What a kernel wants in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// A pointer that the kernel writes through, to elements of this type.
    Out(String),
    /// A pointer that it only reads through.
    In(String),
    /// A number of this type.
    Number(String),
    /// A structure of so many `u32`.
    Numbers(usize),
}

/// The parameters of every kernel of a source, by name.
///
/// # Panics
/// When a declaration is not as `common.cuh` says: the sources are part of this program.
pub(crate) fn declarations(source: &str) -> HashMap<String, Vec<Parameter>> {
    let structures = structures(source);
    let mut kernels = HashMap::new();
    for text in source.split("extern \"C\" __global__ void ").skip(1) {
        let (name, rest) = text.split_once('(').expect("a kernel has parameters");
        let (parameters, _) = rest.split_once(')').expect("parameters end");
        let parameters = parameters.split(',').map(|text| parameter(text, &structures)).collect();
        assert_eq!(kernels.insert(name.to_owned(), parameters), None, "two kernels {name}");
    }
    kernels
}

/// The number of `u32` in each structure: `struct Name { u32 a, b; };`
fn structures(source: &str) -> HashMap<&str, usize> {
    let mut structures = HashMap::new();
    for text in source.split("\nstruct ").skip(1) {
        let (name, rest) = text.split_once(" {").expect("a structure has a body");
        let (body, _) = rest.split_once('}').expect("a body ends");
        let fields = body.trim().strip_prefix("u32 ").and_then(|body| body.strip_suffix(';'));
        let fields = fields.unwrap_or_else(|| panic!("{name} must be a list of u32")).split(',');
        structures.insert(name, fields.count());
    }
    structures
}

fn parameter(text: &str, structures: &HashMap<&str, usize>) -> Parameter {
    let (kind, _) = text.trim().rsplit_once(' ').expect("a parameter has a type and a name");
    if let Some(&count) = structures.get(kind) {
        return Parameter::Numbers(count);
    }
    match (kind.strip_prefix("const "), kind.strip_suffix('*')) {
        (Some(read), Some(_)) => Parameter::In(read.trim_end_matches('*').to_owned()),
        (None, Some(written)) => Parameter::Out(written.to_owned()),
        (_, None) => Parameter::Number(kind.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_source_in_their_order() {
        let source = "x\nstruct Pair {\n    u32 a, b;\n};\nextern \"C\" __global__ void k(float* y, \
                      const u8* x, Pair s, float f, u64 len) { if (a) b(); }";
        let expected = vec![
            Parameter::Out("float".into()),
            Parameter::In("u8".into()),
            Parameter::Numbers(2),
            Parameter::Number("float".into()),
            Parameter::Number("u64".into()),
        ];
        assert_eq!(declarations(source), HashMap::from([("k".to_owned(), expected)]));
    }

    #[test]
    fn every_kernel_of_this_crate_can_be_read_and_takes_only_what_a_launch_can_give() {
        let kernels = declarations(crate::kernels::source());
        assert!(kernels.len() > 20, "{}", kernels.len());
        for (name, parameters) in kernels {
            for parameter in parameters {
                let (kind, known): (_, &[&str]) = match &parameter {
                    Parameter::Out(kind) | Parameter::In(kind) => {
                        (kind.as_str(), &["float", "double", "u8", "u16", "u32"])
                    }
                    Parameter::Number(kind) => (kind.as_str(), &["float", "u32", "u64"]),
                    Parameter::Numbers(_) => continue,
                };
                assert!(known.contains(&kind), "{name}: {parameter:?}");
            }
        }
    }
}
