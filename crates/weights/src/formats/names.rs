//! Which tensors of a file are the network's: those of one name prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use alexnet_network::{
    Initialisation, Model, ModelConfig, ModelName, ParameterRole, ParameterSpec, Plan, Purpose,
    TensorSpec,
};

/// Counts batches that were averaged; nothing is computed with it.
const COUNTER: &str = "num_batches_tracked";

/// Every name a tensor of one of the networks may have: ours, and by layer.
static KNOWN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let networks = ModelName::ALL.map(|model| (model, false)).into_iter();
    let mut names = BTreeSet::new();
    for (model, batch_norm) in networks.chain([(ModelName::Modern, true)]) {
        let image_size = model.native_image_size();
        let config =
            ModelConfig { model, classes: 1, image_size, width: 0.01, batch_norm, dropout: None };
        let plan = Model::new(config)
            .and_then(|model| Plan::new(&model, 1, Purpose::Inference, Initialisation::Model));
        for spec in plan.expect("every model has a plan at its own size").parameters {
            for tensor in &spec.tensors {
                names.insert(tensor.name.clone());
                names.insert(by_layer(&spec, tensor));
            }
        }
    }
    names
});

/// A tensor's name after its layer: `conv1.weight`, `bn1.running_mean`.
pub(crate) fn by_layer(spec: &ParameterSpec, tensor: &TensorSpec) -> String {
    let last = tensor.name.rsplit('.').next().unwrap_or_default();
    match spec.role {
        ParameterRole::Weight | ParameterRole::Bias => format!("{}.{last}", spec.layer),
        ParameterRole::Affine | ParameterRole::Running => {
            format!("{}.{last}", spec.layer.replace("conv", "bn"))
        }
    }
}

/// What stands before the network's names in a file: `module.` of a network trained on several
/// devices, `state_dict.` of a checkpoint, mostly nothing. The prefix with the most names the
/// networks know, of equals the shortest; none if no name is known.
pub(crate) fn prefix<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in names {
        let starts = name.match_indices('.').map(|(at, _)| at + 1);
        // The longest name known: `features.0.weight` before a layer of another network's.
        let start = [0].into_iter().chain(starts).find(|&start| KNOWN.contains(&name[start..]));
        if let Some(start) = start {
            *counts.entry(&name[..start]).or_default() += 1;
        }
    }
    let best = counts.into_iter().max_by_key(|(prefix, count)| (*count, usize::MAX - prefix.len()));
    best.map(|(prefix, _)| prefix)
}

/// The network's name of a tensor of a file with this prefix, or none if the tensor is something
/// else's: an optimizer's, or a counter.
pub(crate) fn own<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let own = name.strip_prefix(prefix)?;
    (own.rsplit('.').next() != Some(COUNTER)).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_s_tensors_are_found_wherever_a_checkpoint_keeps_them() {
        let cases: [(&[&str], Option<&str>); 6] = [
            (&["features.0.weight", "features.0.bias"], Some("")),
            (&["conv1.weight", "fc8.bias"], Some("")),
            (&["module.features.0.weight", "module.features.0.bias"], Some("module.")),
            (
                &["state_dict.module.features.0.weight", "optimizer.state.0.momentum_buffer"],
                Some("state_dict.module."),
            ),
            (&["ema_model.fc6.bias", "model.fc6.bias"], Some("model.")),
            (&["layer1.0.conv.weight", "weight"], None),
        ];
        for (names, expected) in cases {
            assert_eq!(prefix(names.iter().copied()), expected, "{names:?}");
        }
        assert_eq!(own("m.features.1.num_batches_tracked", "m."), None);
        assert_eq!(own("optimizer.x", "m."), None);
        assert_eq!(own("m.conv1.weight", "m."), Some("conv1.weight"));
    }
}
