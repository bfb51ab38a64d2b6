//! `Embeddings`, `Multimodal`, `CrossAttention`, and what a call takes as input.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::buffer::{floats, shaped, wrong_shape};
use super::errors::raise;
use super::params::Tokens;
use super::{convert, params};
use crate::error::Error;
use crate::input::{self, Images, Input, Markers, Videos};

/// Embeddings as input (`RKLLM_INPUT_EMBED`), taken as they are: no chat template, no tokenizer.
///
/// Args:
///     data: float32, C-contiguous, of the shape (n, width): a NumPy array, a `FloatArray`, anything
///         with the buffer protocol or `__array_interface__`. It is copied.
///     width: Width of a row, for a flat buffer such as `array.array("f")`.
///
/// Raises:
///     InvalidArgumentError: Not contiguous, empty, or of another shape.
///     InvalidTypeError: No array, or one of another type than float32.
#[pyclass(module = "rkllm_rs", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(super) struct Embeddings(pub(super) input::Embeddings);

#[pymethods]
impl Embeddings {
    #[new]
    #[pyo3(signature = (data, *, width=None))]
    fn new(data: &Bound<'_, PyAny>, width: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let py = data.py();
        let array = floats("embeddings", data)?;
        let given = convert::optional_size("width", width)?;
        let width = match (array.shape.as_slice(), given) {
            (&[_, width], None) => width,
            (&[_, width], Some(given)) if given == width => width,
            (&[_], Some(given)) => given,
            (shape, None) => return Err(wrong_shape(py, "embeddings", "(n, width)", shape)),
            (shape, Some(given)) => {
                let wanted = format!("(n, {given})");
                return Err(wrong_shape(py, "embeddings", &wanted, shape));
            }
        };
        let made = input::Embeddings::new(array.values, width);
        made.map(Self).map_err(|error| raise(py, &error))
    }

    /// `(n, width)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.rows(), self.0.width())
    }

    fn __len__(&self) -> usize {
        self.0.rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<rkllm_rs.Embeddings {} x {} float32>",
            self.0.rows(),
            self.0.width()
        )
    }
}

/// Text with embeddings of images or videos in it (`RKLLM_INPUT_MULTIMODAL`).
///
/// The text must hold one `<image>` for each image and one `<video>` for each video. Counts come from
/// the shapes of the arrays; those that are given must agree.
///
/// Args:
///     prompt: The text.
///     image_embed: Image embeddings, float32: (images, tokens, width), or (tokens, width) for one.
///     n_image_tokens: Tokens of each image.
///     n_image: Images; more than one from RKLLM 1.2.1b1.
///     image_width: Width that they were encoded with, for models with mrope; from 1.2.1b1.
///     image_height: Height, likewise.
///     image_start: Marker before each image; from 1.3.0, before it is `img_start=` of the model.
///     image_end: Marker after each image, likewise.
///     image_content: Placeholder of an image's tokens, likewise.
///     video_embed: Video embeddings, float32: (videos, frames, tokens, width), or (frames, tokens,
///         width) for one; from 1.3.0.
///     n_frame_tokens: Tokens of each frame.
///     n_frame_per_video: Frames of each video.
///     n_video: Videos.
///     video_start: Marker before each video.
///     video_end: Marker after each video.
///     video_content: Placeholder of a video's tokens.
///     frame_width: Width of a frame.
///     frame_height: Height of a frame.
///
/// Raises:
///     InvalidArgumentError: Tags, counts and shapes that do not agree.
///     InvalidTypeError: No array, or one of another type than float32.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct Multimodal(input::Multimodal);

/// Shape with the dimensions in front that are left out where there is one thing only.
fn full<const N: usize>(
    py: Python<'_>,
    name: &str,
    wanted: &str,
    shape: &[usize],
) -> PyResult<[usize; N]> {
    let missing = N.checked_sub(shape.len()).filter(|missing| *missing <= 1);
    let Some(missing) = missing else {
        return Err(wrong_shape(py, name, wanted, shape));
    };
    let mut all = [1; N];
    all[missing..].copy_from_slice(shape);
    Ok(all)
}

/// What was given about images, or about videos, besides their embeddings.
struct Part<'py> {
    py: Python<'py>,
    kind: &'static str,
    count: (&'static str, Option<usize>),
    frames: (&'static str, Option<usize>),
    tokens: (&'static str, Option<usize>),
    size: [(&'static str, Option<usize>); 2],
    markers: Markers,
}

impl Part<'_> {
    fn wrong(&self, name: &str, reason: String, hint: String) -> PyErr {
        raise(self.py, &Error::invalid_with_hint(name, reason, hint))
    }

    /// Demands that there is nothing to say where there are no embeddings.
    fn nothing_given(&self) -> PyResult<()> {
        let counts = [self.count, self.frames, self.tokens];
        let mut given = counts
            .into_iter()
            .chain(self.size)
            .filter(|part| part.1.is_some());
        let name = match given.next() {
            Some((name, _)) => name,
            None if self.markers.given() => "marker",
            None => return Ok(()),
        };
        let kind = self.kind;
        Err(self.wrong(
            name,
            format!("there are no {kind} embeddings"),
            format!("Give {kind}_embed, or leave {name} out."),
        ))
    }

    /// Demands that a count which was given is that of the shape.
    fn agree(&self, (name, given): (&str, Option<usize>), shape: usize) -> PyResult<usize> {
        match given {
            Some(given) if given != shape => Err(self.wrong(
                name,
                format!("got {given}, and the array has {shape}"),
                "Leave it out, or reshape the array.".to_owned(),
            )),
            _ => Ok(shape),
        }
    }

    fn size(&self) -> (usize, usize) {
        (self.size[0].1.unwrap_or(0), self.size[1].1.unwrap_or(0))
    }
}

#[pymethods]
impl Multimodal {
    #[new]
    #[pyo3(signature = (prompt, image_embed=None, *, n_image_tokens=None, n_image=None, image_width=None, image_height=None, image_start=None, image_end=None, image_content=None, video_embed=None, n_frame_tokens=None, n_frame_per_video=None, n_video=None, video_start=None, video_end=None, video_content=None, frame_width=None, frame_height=None))]
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the fields of RKLLMMultiModalInput"
    )]
    fn new(
        prompt: &Bound<'_, PyAny>,
        image_embed: Option<&Bound<'_, PyAny>>,
        n_image_tokens: Option<&Bound<'_, PyAny>>,
        n_image: Option<&Bound<'_, PyAny>>,
        image_width: Option<&Bound<'_, PyAny>>,
        image_height: Option<&Bound<'_, PyAny>>,
        image_start: Option<&Bound<'_, PyAny>>,
        image_end: Option<&Bound<'_, PyAny>>,
        image_content: Option<&Bound<'_, PyAny>>,
        video_embed: Option<&Bound<'_, PyAny>>,
        n_frame_tokens: Option<&Bound<'_, PyAny>>,
        n_frame_per_video: Option<&Bound<'_, PyAny>>,
        n_video: Option<&Bound<'_, PyAny>>,
        video_start: Option<&Bound<'_, PyAny>>,
        video_end: Option<&Bound<'_, PyAny>>,
        video_content: Option<&Bound<'_, PyAny>>,
        frame_width: Option<&Bound<'_, PyAny>>,
        frame_height: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = prompt.py();
        let text = convert::text("prompt", prompt)?;
        let image = Part {
            py,
            kind: "image",
            count: ("n_image", convert::optional_size("n_image", n_image)?),
            frames: ("", None),
            tokens: (
                "n_image_tokens",
                convert::optional_size("n_image_tokens", n_image_tokens)?,
            ),
            size: [
                (
                    "image_width",
                    convert::optional_size("image_width", image_width)?,
                ),
                (
                    "image_height",
                    convert::optional_size("image_height", image_height)?,
                ),
            ],
            markers: Markers {
                start: convert::c_text("image_start", image_start)?,
                end: convert::c_text("image_end", image_end)?,
                content: convert::c_text("image_content", image_content)?,
            },
        };
        let images = match image_embed {
            None => image.nothing_given().map(|()| None)?,
            Some(value) => {
                let array = floats("image_embed", value)?;
                let wanted = "(images, tokens, width) or (tokens, width)";
                let [count, tokens, _] = full(py, "image_embed", wanted, &array.shape)?;
                Some(Images {
                    values: array.values.into(),
                    count: image.agree(image.count, count)?,
                    tokens: image.agree(image.tokens, tokens)?,
                    size: image.size(),
                    markers: image.markers,
                })
            }
        };
        let video = Part {
            py,
            kind: "video",
            count: ("n_video", convert::optional_size("n_video", n_video)?),
            frames: (
                "n_frame_per_video",
                convert::optional_size("n_frame_per_video", n_frame_per_video)?,
            ),
            tokens: (
                "n_frame_tokens",
                convert::optional_size("n_frame_tokens", n_frame_tokens)?,
            ),
            size: [
                (
                    "frame_width",
                    convert::optional_size("frame_width", frame_width)?,
                ),
                (
                    "frame_height",
                    convert::optional_size("frame_height", frame_height)?,
                ),
            ],
            markers: Markers {
                start: convert::c_text("video_start", video_start)?,
                end: convert::c_text("video_end", video_end)?,
                content: convert::c_text("video_content", video_content)?,
            },
        };
        let videos = match video_embed {
            None => video.nothing_given().map(|()| None)?,
            Some(value) => {
                let array = floats("video_embed", value)?;
                let wanted = "(videos, frames, tokens, width) or (frames, tokens, width)";
                let [count, frames, tokens, _] = full(py, "video_embed", wanted, &array.shape)?;
                Some(Videos {
                    values: array.values.into(),
                    count: video.agree(video.count, count)?,
                    frames: video.agree(video.frames, frames)?,
                    tokens: video.agree(video.tokens, tokens)?,
                    size: video.size(),
                    markers: video.markers,
                })
            }
        };
        let made = input::Multimodal::new(&text, images, videos);
        made.map(Self).map_err(|error| raise(py, &error))
    }

    /// The text.
    #[getter]
    fn prompt(&self) -> String {
        self.0.prompt().to_string_lossy().into_owned()
    }

    /// How many images there are.
    #[getter]
    fn n_image(&self) -> usize {
        self.0.images().map_or(0, |images| images.count)
    }

    /// Tokens of each image.
    #[getter]
    fn n_image_tokens(&self) -> usize {
        self.0.images().map_or(0, |images| images.tokens)
    }

    /// How many videos there are.
    #[getter]
    fn n_video(&self) -> usize {
        self.0.videos().map_or(0, |videos| videos.count)
    }

    fn __repr__(&self) -> String {
        format!(
            "<rkllm_rs.Multimodal: {} images, {} videos>",
            self.n_image(),
            self.n_video()
        )
    }
}

/// Encoder output for models with cross attention (`RKLLMCrossAttnParam`).
///
/// Note the orders in memory, which differ between K and V.
///
/// Args:
///     k_cache: float32, (layers, tokens, kv heads, head width) (`encoder_k_cache`).
///     v_cache: float32, (layers, kv heads, head width, tokens) (`encoder_v_cache`).
///     mask: float32, (tokens,) (`encoder_mask`).
///     positions: int, one for each token (`encoder_pos`).
///
/// Raises:
///     InvalidArgumentError: Shapes that do not fit each other, arrays that are not contiguous.
///     InvalidTypeError: No arrays, or of another type.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct CrossAttention(pub(super) input::CrossAttention);

#[pymethods]
impl CrossAttention {
    #[new]
    fn new(
        k_cache: &Bound<'_, PyAny>,
        v_cache: &Bound<'_, PyAny>,
        mask: &Bound<'_, PyAny>,
        positions: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let py = k_cache.py();
        let k = shaped("k_cache", "(layers, tokens, heads, head width)", k_cache)?;
        let v = shaped("v_cache", "(layers, heads, head width, tokens)", v_cache)?;
        let (mask, [_]) = shaped("mask", "(tokens,)", mask)?;
        let positions = convert::integers("positions", positions)?;
        let made = input::CrossAttention::new(k, v, mask, positions);
        made.map(Self).map_err(|error| raise(py, &error))
    }

    /// Length of the encoder's output.
    #[getter]
    fn num_tokens(&self) -> usize {
        self.0.num_tokens()
    }

    fn __repr__(&self) -> String {
        format!("<rkllm_rs.CrossAttention of {} tokens>", self.num_tokens())
    }
}

const KINDS: &str = "a str, Tokens, Embeddings or Multimodal";

/// The input of a call.
pub(super) fn input(value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    if let Ok(tokens) = value.cast::<Tokens>() {
        return Ok(Input::Tokens(tokens.get().0.clone()));
    }
    if value.is_instance_of::<PyString>() {
        let text = convert::text("prompt", value)?;
        return Input::prompt(&text).map_err(|error| raise(py, &error));
    }
    if let Ok(embeddings) = value.cast::<Embeddings>() {
        return Ok(Input::Embeddings(embeddings.get().0.clone()));
    }
    if let Ok(multimodal) = value.cast::<Multimodal>() {
        return Ok(Input::Multimodal(Box::new(multimodal.get().0.clone())));
    }
    Err(convert::wrong_type("input", KINDS, value))
}

/// The inputs of a batch.
pub(super) fn inputs(value: &Bound<'_, PyAny>) -> PyResult<Vec<Input>> {
    let wanted = format!("a list of {KINDS}");
    let single = value.is_instance_of::<PyString>() || value.cast::<params::Tokens>().is_ok();
    match value.try_iter() {
        Ok(items) if !single => items.map(|item| input(&item?)).collect(),
        _ => Err(convert::wrong_type("inputs", &wanted, value)),
    }
}

/// Three strings of a chat template; `"raw"` is three empty ones, `"model"` none.
pub(super) fn template(value: &Bound<'_, PyAny>) -> PyResult<Option<[std::ffi::CString; 3]>> {
    let py = value.py();
    let wanted = "\"model\", \"raw\" or (system, prefix, postfix)";
    if value.is_instance_of::<PyString>() {
        return match convert::text("template", value)?.as_str() {
            "model" => Ok(None),
            "raw" => Ok(Some(Default::default())),
            other => Err(raise(
                py,
                &Error::invalid_with_hint(
                    "template",
                    format!("got {other:?}"),
                    format!("Give {wanted}."),
                ),
            )),
        };
    }
    let strings = value
        .cast::<PyTuple>()
        .ok()
        .filter(|strings| strings.len() == 3);
    let Some(strings) = strings else {
        return Err(convert::wrong_type("template", wanted, value));
    };
    let mut all = <[std::ffi::CString; 3]>::default();
    for (to, text) in all.iter_mut().zip(strings) {
        *to = convert::c_text("template", Some(&text))?.unwrap_or_default();
    }
    Ok(Some(all))
}
