//! 4.5 `Summary.Value` messages: one per scalar, text, image or set of hyperparameters.
//!
//! Scalars, histograms and images have their own fields. Newer kinds are tensors with the name of
//! the plugin that displays them.
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto>

use serde_json::Value;

use crate::protobuf::Message;

/// Setting: its name, `outer.inner` for nested objects, and its value.
pub(crate) type Setting<'a> = (String, &'a Value);

/// Scalar, stored as f32.
pub(crate) fn scalar(tag: &str, value: f64) -> Message {
    Message::new().bytes(1, tag).float(2, value as f32) // tag, simple_value
}

/// Image from the bytes of a PNG file.
pub(crate) fn image(tag: &str, png: &[u8], width: u32, height: u32) -> Message {
    let image = Message::new().varint(1, height.into()).varint(2, width.into()).bytes(4, png);
    Message::new().bytes(1, tag).bytes(4, image) // tag, image
}

/// Text, a string tensor of the plugin `text`.
pub(crate) fn text(tag: &str, text: &str) -> Message {
    // dtype = DT_STRING, tensor_shape, string_val
    let tensor = Message::new().varint(1, 7).bytes(2, "").bytes(8, text);
    plugin_summary(tag, tensor, Message::new().bytes(1, "text"))
}

/// Session start of the plugin `hparams`, which stores its data in the metadata of an empty tensor.
pub(crate) fn hyperparameters(settings: &[Setting], start: f64) -> Message {
    let mut session = Message::new();
    for (name, value) in settings {
        let value = match value {
            Value::Bool(on) => Message::new().varint(4, u64::from(*on)), // bool_value
            Value::Number(number) => {
                Message::new().double(2, number.as_f64().unwrap_or(f64::NAN)) // number_value
            }
            other => Message::new().bytes(3, value_to_text(other)), // string_value
        };
        // hparams: key, value
        session = session.bytes(1, Message::new().bytes(1, name).bytes(2, value));
    }
    // session_start_info: start_time_secs
    let content = Message::new().bytes(3, session.double(5, start));
    // dtype = DT_FLOAT, shape (0,)
    let empty = Message::new().varint(1, 1).bytes(2, Message::new().bytes(2, ""));
    let plugin = Message::new().bytes(1, "hparams").bytes(2, content);
    plugin_summary("_hparams_/session_start_info", empty, plugin)
}

/// Value of a plugin. `plugin` is a `PluginData` message: the name and the data of the plugin.
fn plugin_summary(tag: &str, tensor: Message, plugin: Message) -> Message {
    let metadata = Message::new().bytes(1, plugin); // plugin_data
    Message::new().bytes(1, tag).bytes(8, tensor).bytes(9, metadata) // tag, tensor, metadata
}

/// Flat list of the settings in nested objects.
pub(crate) fn flatten_settings(settings: &Value) -> Vec<Setting<'_>> {
    match settings {
        Value::Object(inner) if !inner.is_empty() => {
            let rows = inner.iter().flat_map(|(outer, value)| {
                flatten_settings(value).into_iter().map(move |(name, value)| match name.as_str() {
                    "" => (outer.clone(), value),
                    name => (format!("{outer}.{name}"), value),
                })
            });
            rows.collect()
        }
        value => vec![(String::new(), value)],
    }
}

/// Markdown table of `settings`.
pub(crate) fn markdown_table(settings: &[Setting]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace(['\r', '\n'], " ");
    let rows = settings.iter().map(|(name, value)| {
        let value = value_to_text(value);
        format!("| {} | {} |\n", cell(name), cell(&value))
    });
    format!("| setting | value |\n|---|---|\n{}", rows.collect::<String>())
}

fn value_to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
