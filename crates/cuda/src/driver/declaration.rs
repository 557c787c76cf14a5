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
    let value = value_type(source);
    let mut kernels = HashMap::new();
    for text in source.split("extern \"C\" __global__ void ").skip(1) {
        let (name, rest) = text.split_once('(').expect("a kernel has parameters");
        let (parameters, _) = rest.split_once(')').expect("parameters end");
        let parameters = parameters.split(',').map(|text| parameter(text, &structures, value));
        let parameters = parameters.collect();
        assert_eq!(kernels.insert(name.to_owned(), parameters), None, "two kernels {name}");
    }
    kernels
}

/// What kernels call `value`: `typedef float value;`
fn value_type(source: &str) -> &str {
    let (before, _) = source.split_once(" value;").expect("the source says what a value is");
    before.rsplit_once("typedef ").map_or(before, |(_, kind)| kind)
}

/// The number of `u32` in each structure that a kernel may take: `struct Name { u32 a, b; };`
fn structures(source: &str) -> HashMap<&str, usize> {
    let mut structures = HashMap::new();
    for text in source.split("\nstruct ").skip(1) {
        let (name, rest) = text.split_once(" {").expect("a structure has a body");
        let (body, _) = rest.split_once('}').expect("a body ends");
        if let Some(fields) = body.trim().strip_prefix("u32 ").and_then(|f| f.strip_suffix(';')) {
            structures.insert(name, fields.split(',').count());
        }
    }
    structures
}

fn parameter(text: &str, structures: &HashMap<&str, usize>, value: &str) -> Parameter {
    let (kind, _) = text.trim().rsplit_once(' ').expect("a parameter has a type and a name");
    if let Some(&count) = structures.get(kind) {
        return Parameter::Numbers(count);
    }
    let element = |kind: &str| if kind == "value" { value.to_owned() } else { kind.to_owned() };
    match (kind.strip_prefix("const "), kind.strip_suffix('*')) {
        (Some(read), Some(_)) => Parameter::In(element(read.trim_end_matches('*'))),
        (None, Some(written)) => Parameter::Out(element(written)),
        (_, None) => Parameter::Number(kind.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::Precision;

    use super::*;

    #[test]
    fn parameters_are_read_from_the_source_in_their_order() {
        let source = "typedef u16 value;\nstruct Pair {\n    u32 a, b;\n};\nstruct Run {\n    float at[8];\n};\n\
                      extern \"C\" __global__ void k(float* y, const u8* x, Pair s, float f, u64 len) \
                      { if (a) b(); }\nextern \"C\" __global__ void v(value* y, const value* x) {}";
        let expected = vec![
            Parameter::Out("float".into()),
            Parameter::In("u8".into()),
            Parameter::Numbers(2),
            Parameter::Number("float".into()),
            Parameter::Number("u64".into()),
        ];
        let values = vec![Parameter::Out("u16".into()), Parameter::In("u16".into())];
        let expected = [("k".to_owned(), expected), ("v".to_owned(), values)];
        assert_eq!(declarations(source), HashMap::from(expected));
    }

    #[test]
    fn every_kernel_of_this_crate_can_be_read_and_takes_only_what_a_launch_can_give() {
        let kernels = declarations(crate::kernels::source(Precision::F32));
        assert!(kernels.len() > 20, "{}", kernels.len());
        for (name, parameters) in kernels {
            for parameter in parameters {
                let (kind, known): (_, &[&str]) = match &parameter {
                    Parameter::Out(kind) | Parameter::In(kind) => {
                        (kind.as_str(), &["float", "double", "u8", "u16", "u32", "u64"])
                    }
                    Parameter::Number(kind) => (kind.as_str(), &["float", "u32", "u64"]),
                    Parameter::Numbers(_) => continue,
                };
                assert!(known.contains(&kind), "{name}: {parameter:?}");
            }
        }
    }
}
