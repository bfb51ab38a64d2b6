//! `Multimodal`: text with embeddings, whose counts come from the shapes of arrays.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::buffer::{floats, wrong_shape};
use super::errors::raise;
use super::options::Argument;
use super::{convert, options};
use crate::protocol::error::Failure;
use crate::protocol::input::{self, Audios, Images, Markers, Videos};

/// Text with embeddings of images, videos or audio in it (`RKLLM_INPUT_MULTIMODAL`).
///
/// The text must contain one `<image>` per image, one `<video>` per video and one `<audio>` per audio clip.
/// Counts come from the shapes of the arrays; counts that are given must match them. All arrays are
/// C-contiguous float32 and are copied.
///
/// Immutable; any number of threads and tasks may use it at the same time.
///
/// Args:
///     prompt: The text; must not be empty.
///     image_embed: Image embeddings of shape (images, tokens, width), or (tokens, width) for one image.
///     n_image_tokens: Number of tokens per image.
///     n_image: Number of images; more than one requires RKLLM 1.2.1b1 or later.
///     image_width: Width in pixels that the images were encoded with, for models with M-RoPE; requires
///         RKLLM 1.2.1b1 or later.
///     image_height: Height in pixels that the images were encoded with; as `image_width`.
///     image_start: Marker before each image; requires RKLLM 1.3.0 or later. Earlier releases have
///         `img_start=` of the model instead.
///     image_end: Marker after each image; as `image_start`.
///     image_content: Placeholder for an image's tokens; as `image_start`.
///     video_embed: Video embeddings of shape (videos, frames, tokens, width), or (frames, tokens, width) for
///         one video; requires RKLLM 1.3.0 or later.
///     n_frame_tokens: Number of tokens per frame.
///     n_frame_per_video: Number of frames per video.
///     n_video: Number of videos.
///     video_start: Marker before each video.
///     video_end: Marker after each video.
///     video_content: Placeholder for a video's tokens.
///     frame_width: Width of a frame in pixels.
///     frame_height: Height of a frame in pixels.
///     audio_embed: Audio embeddings of shape (clips, tokens, width), or (tokens, width) for one clip;
///         requires RKLLM 1.3.1 or later.
///     n_audio_tokens: Number of tokens per audio clip.
///     n_audio: Number of audio clips.
///     audio_start: Marker before each audio clip.
///     audio_end: Marker after each audio clip.
///     audio_content: Placeholder for an audio clip's tokens.
///
/// Raises:
///     InvalidArgumentError: Tags, counts and shapes do not match.
///     InvalidTypeError: Not an array, or its type is not float32.
#[pyclass(module = "rkllm_rs", frozen)]
pub(super) struct Multimodal(pub(super) input::Multimodal);

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

/// A count that was given, with its name.
fn given(
    name: &'static str,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<(&'static str, Option<usize>)> {
    Ok((name, convert::optional_size(name, value)?))
}

/// Start, end and content.
fn markers(names: [&str; 3], values: [Option<&Bound<'_, PyAny>>; 3]) -> PyResult<Markers> {
    let [start, end, content] = [0, 1, 2].map(|at| convert::c_text(names[at], values[at]));
    Ok(Markers {
        start: start?,
        end: end?,
        content: content?,
    })
}

/// What was given about images, videos or sounds, besides their embeddings.
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
        raise(self.py, &Failure::invalid_with_hint(name, reason, hint))
    }

    /// Demands that there is nothing to say where there are no embeddings.
    fn nothing_given(&self) -> PyResult<()> {
        let counts = [self.count, self.frames, self.tokens];
        let mut given = counts
            .into_iter()
            .chain(self.size)
            .filter(|part| part.1.is_some());
        let (kind, markers) = (self.kind, &self.markers);
        let marker = [
            ("start", &markers.start),
            ("end", &markers.end),
            ("content", &markers.content),
        ];
        let marker = marker.into_iter().find(|(_, text)| text.is_some());
        let name = match (given.next(), marker) {
            (Some((name, _)), _) => name.to_owned(),
            (None, Some((which, _))) => format!("{kind}_{which}"),
            (None, None) => return Ok(()),
        };
        Err(self.wrong(
            &name,
            format!("was given without {kind}_embed"),
            format!("Pass {kind}_embed, or omit {name}."),
        ))
    }

    /// Demands that a count which was given is that of the shape.
    fn agree(&self, (name, given): (&str, Option<usize>), shape: usize) -> PyResult<usize> {
        match given {
            Some(given) if given != shape => Err(self.wrong(
                name,
                format!("must match the array, which has {shape}, got {given}"),
                format!("Omit {name}, or reshape the array."),
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
    #[pyo3(signature = (prompt=Argument::default(), image_embed=None, *surplus, n_image_tokens=None, n_image=None, image_width=None, image_height=None, image_start=None, image_end=None, image_content=None, video_embed=None, n_frame_tokens=None, n_frame_per_video=None, n_video=None, video_start=None, video_end=None, video_content=None, frame_width=None, frame_height=None, audio_embed=None, n_audio_tokens=None, n_audio=None, audio_start=None, audio_end=None, audio_content=None, **unknown), text_signature = "(prompt, image_embed=None, *, n_image_tokens=None, n_image=None, image_width=None, image_height=None, image_start=None, image_end=None, image_content=None, video_embed=None, n_frame_tokens=None, n_frame_per_video=None, n_video=None, video_start=None, video_end=None, video_content=None, frame_width=None, frame_height=None, audio_embed=None, n_audio_tokens=None, n_audio=None, audio_start=None, audio_end=None, audio_content=None)")]
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the fields of RKLLMMultiModalInput"
    )]
    fn new(
        py: Python<'_>,
        prompt: Argument<'_>,
        image_embed: Option<&Bound<'_, PyAny>>,
        surplus: &Bound<'_, PyTuple>,
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
        audio_embed: Option<&Bound<'_, PyAny>>,
        n_audio_tokens: Option<&Bound<'_, PyAny>>,
        n_audio: Option<&Bound<'_, PyAny>>,
        audio_start: Option<&Bound<'_, PyAny>>,
        audio_end: Option<&Bound<'_, PyAny>>,
        audio_content: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        options::refuse(
            py,
            "Multimodal",
            &["prompt", "image_embed"],
            surplus,
            unknown,
        )?;
        let text = convert::text("prompt", &prompt.of(py, "Multimodal", "prompt")?)?;
        let image = Part {
            py,
            kind: "image",
            count: given("n_image", n_image)?,
            frames: ("", None),
            tokens: given("n_image_tokens", n_image_tokens)?,
            size: [
                given("image_width", image_width)?,
                given("image_height", image_height)?,
            ],
            markers: markers(
                ["image_start", "image_end", "image_content"],
                [image_start, image_end, image_content],
            )?,
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
            count: given("n_video", n_video)?,
            frames: given("n_frame_per_video", n_frame_per_video)?,
            tokens: given("n_frame_tokens", n_frame_tokens)?,
            size: [
                given("frame_width", frame_width)?,
                given("frame_height", frame_height)?,
            ],
            markers: markers(
                ["video_start", "video_end", "video_content"],
                [video_start, video_end, video_content],
            )?,
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
        let audio = Part {
            py,
            kind: "audio",
            count: given("n_audio", n_audio)?,
            frames: ("", None),
            tokens: given("n_audio_tokens", n_audio_tokens)?,
            size: [("", None); 2],
            markers: markers(
                ["audio_start", "audio_end", "audio_content"],
                [audio_start, audio_end, audio_content],
            )?,
        };
        let audios = match audio_embed {
            None => audio.nothing_given().map(|()| None)?,
            Some(value) => {
                let array = floats("audio_embed", value)?;
                let wanted = "(sounds, tokens, width) or (tokens, width)";
                let [count, tokens, _] = full(py, "audio_embed", wanted, &array.shape)?;
                Some(Audios {
                    values: array.values.into(),
                    count: audio.agree(audio.count, count)?,
                    tokens: audio.agree(audio.tokens, tokens)?,
                    markers: audio.markers,
                })
            }
        };
        let made = input::Multimodal::new(&text, images, videos, audios);
        made.map(Self).map_err(|error| raise(py, &error))
    }

    /// The text.
    #[getter]
    fn prompt(&self) -> String {
        self.0.prompt().to_string_lossy().into_owned()
    }

    /// Number of images.
    #[getter]
    fn n_image(&self) -> usize {
        self.0.images().map_or(0, |images| images.count)
    }

    /// Number of tokens per image.
    #[getter]
    fn n_image_tokens(&self) -> usize {
        self.0.images().map_or(0, |images| images.tokens)
    }

    /// Number of videos.
    #[getter]
    fn n_video(&self) -> usize {
        self.0.videos().map_or(0, |videos| videos.count)
    }

    /// Number of audio clips.
    #[getter]
    fn n_audio(&self) -> usize {
        self.0.audios().map_or(0, |audios| audios.count)
    }

    fn __repr__(&self) -> String {
        format!(
            "<rkllm_rs.Multimodal: {} images, {} videos, {} sounds>",
            self.n_image(),
            self.n_video(),
            self.n_audio()
        )
    }
}
