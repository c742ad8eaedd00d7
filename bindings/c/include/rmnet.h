/*
 * rmnet: image inference for the ResNet family, from checkpoints as they are, on any GPU or on CPU
 * threads. C99 and C++11. Written by cbindgen from bindings/c/src: do not edit.
 *
 *     rmnet_session *session = NULL;
 *     if (rmnet_session_open("resnet50.safetensors", NULL, &session) != RMNET_OK) {
 *         fprintf(stderr, "%s\n", rmnet_last_error());
 *         return 1;
 *     }
 *     size_t input_len = rmnet_session_input_len(session, 1);
 *     size_t output_len = rmnet_session_output_len(session, 1);
 *     float *input = calloc(input_len, sizeof(float)), *output = calloc(output_len, sizeof(float));
 *     if (rmnet_session_run(session, input, input_len, output, output_len) != RMNET_OK) ...
 *     free(output);
 *     free(input);
 *     rmnet_session_free(session);
 *
 * Errors. A function that can fail returns an rmnet_status, and rmnet_last_error() says on the same
 * thread what is wrong. Functions that give a count, a length or a text return 0 or NULL if the handle
 * is NULL or the index is too large. NULL where a pointer is needed is RMNET_ERROR_USAGE, no crash.
 * A panic inside the library, a bug, is RMNET_ERROR_PANIC and a report on standard error. The first
 * image that is decoded makes the library's panic hook silent about image decoders, whose panics are
 * caught: they are the RMNET_ERROR_INPUT of a damaged file.
 *
 * Ownership. Handles (rmnet_session, rmnet_image, rmnet_adapters) are made by the library, belong to
 * the caller, and are freed once, by the function that their comment names; freeing NULL does nothing.
 * Buffers of numbers belong to the caller, who asks for their length first. Texts that the library
 * gives are lent, never freed by the caller, and valid until the handle that they come from is freed.
 * What a caller passes is not kept after the call, apart from the log callback.
 *
 * Texts are UTF-8 and end with NUL, in both directions. Paths are UTF-8 too, on Unix any bytes.
 *
 * Threads. A handle that is passed as const may be used by any number of threads at the same time.
 * Any thread may free it. No thread may use a handle that is being freed. A session computes on the
 * library's own threads; images are decoded and prepared on the thread that calls. The log callback
 * must not wait for a thread that calls the library.
 *
 * Undefined, as in all of C: a pointer to memory that is freed, too small or of another type, and a
 * buffer that another thread writes during the call.
 *
 * The library stays loaded: do not dlclose() it, since drivers keep threads.
 *
 * Forks. A child of fork() has none of its parent's threads. If the parent had opened a session or
 * listed the adapters, every call with a status is RMNET_ERROR_USAGE in the child, every other one
 * gives 0 or NULL and frees nothing, until the child calls exec().
 *
 * Memory. The library asks for the memory of weights, of values between layers, of prepared images and
 * of its copy of a checkpoint's bytes before it uses it: where the system refuses, the call is
 * RMNET_ERROR_RESOURCES. Where it refuses any other memory, large or small, the process is aborted. A
 * system that promises more memory than it has may end the process later.
 *
 * Versions. Structs that begin with `size` may grow at their end in later versions, all others stay.
 * While the major version is 0, a new minor version may change anything else, and has another SONAME.
 * A library refuses a `size` that is more than twice that of its own struct: it was never set.
 */
#ifndef RMNET_H
#define RMNET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** The version of this header. rmnet_version() is that of the library. */
#define RMNET_VERSION "0.1.0"
#define RMNET_VERSION_MAJOR 0
#define RMNET_VERSION_MINOR 1
#define RMNET_VERSION_PATCH 0
#define RMNET_VERSION_NUMBER \
    (1000000 * RMNET_VERSION_MAJOR + 1000 * RMNET_VERSION_MINOR + RMNET_VERSION_PATCH)

/**
 * The result of a call. The numbers are the exit codes of the program `rmnet`, which also has 5
 * (verification failed) and 7 (slower than a baseline). A later version may add further numbers:
 * take every value other than RMNET_OK as a failure.
 */
enum rmnet_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    RMNET_OK = 0,
    /**
     * The call is wrong: NULL, an option, a length, the size of a struct, pixels that do not have the
     * length that they state, or classes of an output that is no logits. In a child of fork(): any call.
     */
    RMNET_ERROR_USAGE = 2,
    /**
     * The checkpoint, image or input cannot be used, or the network's values are not finite.
     */
    RMNET_ERROR_INPUT = 3,
    /**
     * There is no such adapter, its limits are too small for the network, or its driver computes wrong.
     */
    RMNET_ERROR_ADAPTER = 4,
    /**
     * The device was lost or did not respond, or there is too little memory or no thread.
     */
    RMNET_ERROR_RESOURCES = 6,
    /**
     * A bug in rmnet, please report it. The session that was used should be freed.
     */
    RMNET_ERROR_PANIC = 101,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_status rmnet_status;
#else
typedef int32_t rmnet_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The type in which values between layers and weights are stored. Sums are float in either.
 */
enum rmnet_precision
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * IEEE 754 binary32.
     */
    RMNET_F32 = 0,
    /**
     * IEEE 754 binary16: half the memory. A run in which a value goes beyond 65504 fails.
     */
    RMNET_F16 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_precision rmnet_precision;
#else
typedef int32_t rmnet_precision;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which form of the network runs. All compute the same function.
 */
enum rmnet_mode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Without residual connections; channels that are carried along are never copied.
     */
    RMNET_STRUCTURED = 0,
    /**
     * Without residual connections, written out as plain weights: slow, for comparison.
     */
    RMNET_LITERAL = 1,
    /**
     * With residual connections, as in the checkpoint.
     */
    RMNET_RESIDUAL = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_mode rmnet_mode;
#else
typedef int32_t rmnet_mode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The order of a pixel's bytes in memory.
 */
enum rmnet_pixel_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * One byte: luma.
     */
    RMNET_GRAY8 = 1,
    /**
     * Red, green, blue.
     */
    RMNET_RGB8 = 2,
    /**
     * Blue, green, red.
     */
    RMNET_BGR8 = 3,
    /**
     * Red, green, blue, alpha.
     */
    RMNET_RGBA8 = 4,
    /**
     * Blue, green, red, alpha, as in the frames of most window systems and cameras.
     */
    RMNET_BGRA8 = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_pixel_format rmnet_pixel_format;
#else
typedef int32_t rmnet_pixel_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What is done about the orientation that a camera wrote into a file (EXIF).
 */
enum rmnet_orientation
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The image is turned upright.
     */
    RMNET_ORIENTATION_APPLY = 0,
    /**
     * Pixels stay in the order of the file.
     */
    RMNET_ORIENTATION_IGNORE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_orientation rmnet_orientation;
#else
typedef int32_t rmnet_orientation;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the output of a session is.
 */
enum rmnet_output
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A value per class.
     */
    RMNET_LOGITS = 0,
    /**
     * What a classifier would read, or a layer's map.
     */
    RMNET_FEATURES = 1,
    /**
     * A vector to compare with others, such as that of a face.
     */
    RMNET_EMBEDDING = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_output rmnet_output;
#else
typedef int32_t rmnet_output;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much a message matters.
 */
enum rmnet_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * No messages.
     */
    RMNET_LOG_OFF = 0,
    /**
     * Something failed.
     */
    RMNET_LOG_ERROR = 1,
    /**
     * Something is not as it should be.
     */
    RMNET_LOG_WARN = 2,
    /**
     * What is worth knowing, such as adapters that are passed over.
     */
    RMNET_LOG_INFO = 3,
    /**
     * For a search for faults.
     */
    RMNET_LOG_DEBUG = 4,
    /**
     * Everything.
     */
    RMNET_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rmnet_log_level rmnet_log_level;
#else
typedef int32_t rmnet_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The adapters of the machine at one time, best first. Made by rmnet_adapters_list(), freed by
 * rmnet_adapters_free(). It does not change: any number of threads may read it.
 */
typedef struct rmnet_adapters rmnet_adapters;

/**
 * A decoded image file. Made by rmnet_image_open() or rmnet_image_decode(), freed by
 * rmnet_image_free(). It does not change: any number of threads may read it.
 */
typedef struct rmnet_image rmnet_image;

/**
 * A network on a device, ready to run.
 *
 * Made by rmnet_session_open() or rmnet_session_open_bytes(), freed by rmnet_session_free() on any
 * thread. Any number of threads may use one session at the same time: every function that takes a
 * `const rmnet_session *` may be called while others run.
 */
typedef struct rmnet_session rmnet_session;

/**
 * A function of the caller that is given each message: `level` is a value of rmnet_log_level, `target`
 * the part that it comes from, such as "rmnet::session" or "wgpu_core", and `user` what was passed to
 * rmnet_set_log_callback(). Both texts are valid during the call only.
 *
 * It is called on the thread that logs, so on several threads at once. It has to return: no exception
 * and no longjmp may leave it. It must not call the library, nor wait for a thread that does.
 */
typedef void (*rmnet_log_callback)(int32_t level,
                                   const char *target,
                                   const char *message,
                                   void *user);

/**
 * What a session runs, and where. Zero or NULL in any field is the default: begin with what
 * rmnet_options_default() gives, and set only what you need, such as `options.device = "cpu"`.
 *
 * Nothing keeps a pointer to it or to its texts after the call that it is passed to.
 */
typedef struct rmnet_options {
    /**
     * sizeof(rmnet_options), as rmnet_options_default() sets it. Later versions add fields at the
     * end: a library accepts the struct of an older header, and that of a newer one unless a field
     * is set that it does not know.
     */
    size_t size;
    /**
     * The device: "auto" (the default: the best hardware GPU, or the CPU if there is none), "cpu",
     * "best" (the best GPU, a software one included), "vulkan", "metal", "dx12", "gl", an index of
     * rmnet_adapters_list(), "pci:0000:01:00.0", or a part of an adapter's name. A device that is
     * named and cannot be used is RMNET_ERROR_ADAPTER: no other one is taken instead.
     */
    const char *device;
    /**
     * What a run computes: "logits" (the default), "features" (what the classifier reads), or the
     * name of a block or layer, such as "layer3.1".
     */
    const char *output;
    /**
     * Properties that no tensor of a checkpoint shows, as KEY=VALUE with spaces or commas between,
     * such as "stem_pool=false stage_strides=1,2,2,2". By default the conventions of the family;
     * rmnet_session_assumed() lists them.
     */
    const char *assume;
    /**
     * Path of a tuning, a JSON file that `rmnet tune -o FILE` wrote. By default kernels are chosen
     * by static rules. Ignored on the CPU.
     */
    const char *tuning_path;
    /**
     * Maximum images per run, 1 by default. Memory is allocated for this number.
     */
    size_t batch;
    /**
     * Input height, the model's own by default. Set both sides or none.
     */
    size_t input_height;
    /**
     * Input width, the model's own by default.
     */
    size_t input_width;
    /**
     * Threads on which the CPU executor runs this session. By default all sessions share one pool with
     * a thread per core, on which checkpoints are loaded too, whatever is set here. Ignored on a GPU.
     */
    size_t threads;
    /**
     * Milliseconds that a run or an upload waits for the GPU's driver before it fails, 300000 (five
     * minutes) by default. Ignored on the CPU.
     */
    uint32_t timeout_ms;
    /**
     * A value of rmnet_precision.
     */
    int32_t precision;
    /**
     * A value of rmnet_mode.
     */
    int32_t mode;
    /**
     * 1: neighbouring linear 1x1 convolutions, as in MobileNetV2, are merged into one. Fewer
     * dispatches, more multiplies.
     */
    int32_t merge;
    /**
     * 1: a run does not search its input for NaN and infinity. By default it refuses them, since a
     * network may hide them.
     */
    int32_t unchecked_input;
    /**
     * 1: shaders are compiled with run-time bounds checks. By default they are not, since every plan
     * is checked before it runs.
     */
    int32_t safe_shaders;
    /**
     * Path of a JSON file that keeps the results of self-tests from one process to the next. It is read
     * where it exists, and written, in a folder that exists, when a test has a new result. Delete it to
     * have everything tested again. By default every process tests once. Left alone where skip_self_test
     * is 1.
     */
    const char *self_test_record_path;
    /**
     * 1: kernels are not tested. By default those of a GPU are, when a driver is first used in a process:
     * kernels that it computes wrong are left out (rmnet_session_quarantined()). Ignored on the CPU.
     */
    int32_t skip_self_test;
    /**
     * 0. A later version may give it a meaning.
     */
    int32_t reserved;
} rmnet_options;

/**
 * An image in memory: rows of interleaved 8-bit pixels, the top row first. It borrows the pixels, which
 * whoever made it keeps until the call that it is passed to returns. The struct stays as it is in later
 * versions.
 */
typedef struct rmnet_pixels {
    /**
     * The first pixel of the top row.
     */
    const uint8_t *data;
    /**
     * Bytes at `data`: `height * stride`, of which the gap after the last row may be missing. Without gaps
     * exactly the bytes of the pixels.
     */
    size_t len;
    /**
     * Rows.
     */
    size_t height;
    /**
     * Pixels in a row.
     */
    size_t width;
    /**
     * Bytes from the start of one row to the start of the next; 0 for rows without gaps.
     */
    size_t stride;
    /**
     * A value of rmnet_pixel_format.
     */
    int32_t format;
} rmnet_pixels;

/**
 * A class of an image, with its score. The struct stays as it is in later versions.
 */
typedef struct rmnet_prediction {
    /**
     * The name of the class, lent by the session; NULL if the checkpoint has no names.
     */
    const char *label;
    /**
     * Index of its logit, from 0.
     */
    size_t class_index;
    /**
     * From 0 to 1: by softmax over all classes, or by a sigmoid per class if an image may have several
     * labels. NaN for a regression.
     */
    double probability;
    /**
     * Its logit.
     */
    float logit;
} rmnet_prediction;

/**
 * Bytes that a session holds on its device by now. Begin with what rmnet_memory_default() gives.
 */
typedef struct rmnet_memory {
    /**
     * sizeof(rmnet_memory), which the caller sets before the call, as rmnet_memory_default() does. Later
     * versions add fields at the end.
     */
    size_t size;
    /**
     * Values between layers.
     */
    size_t activations;
    /**
     * What kernels need beside them.
     */
    size_t scratch;
    /**
     * Packed weights. Those that several sessions share are counted in each.
     */
    size_t weights;
    /**
     * Buffers through which inputs and outputs pass.
     */
    size_t transfer;
    /**
     * The sum.
     */
    size_t total;
} rmnet_memory;

/**
 * An adapter. All texts are lent by the rmnet_adapters. Begin with what rmnet_adapter_default() gives.
 */
typedef struct rmnet_adapter {
    /**
     * sizeof(rmnet_adapter), which the caller sets before the call, as rmnet_adapter_default() does. Later
     * versions add fields at the end.
     */
    size_t size;
    /**
     * Its name, such as "NVIDIA H100".
     */
    const char *name;
    /**
     * "discrete", "integrated", "virtual", "software" or "other".
     */
    const char *kind;
    /**
     * "vulkan", "metal", "dx12" or "gl".
     */
    const char *backend;
    /**
     * The driver and its version.
     */
    const char *driver;
    /**
     * The PCI address of the card, such as "0000:01:00.0", which the device "pci:0000:01:00.0" chooses;
     * NULL if the driver does not tell.
     */
    const char *pci;
    /**
     * Why it cannot be used; NULL if it can.
     */
    const char *problem;
} rmnet_adapter;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The message of the last call on this thread that failed: what is wrong, what was expected and what
 * was found. Empty if none has failed. Calls that succeed leave it as it is, so ask only after a
 * status other than RMNET_OK. Functions without a status set it only after a panic, a bug in rmnet, and
 * in a child of fork().
 *
 * The library owns the text. It is valid until the next call on this thread that fails, or until the
 * thread ends. Never NULL.
 */
const char *rmnet_last_error(void);

/**
 * The version of the library that runs, such as "0.1.0"; RMNET_VERSION is that of the header. They go
 * together if the major numbers are equal and, while these are 0, the minor numbers too; while the minor
 * numbers are 0 as well, all three. The text is valid until the process ends.
 */
const char *rmnet_version(void);

/**
 * The version of the library that runs as a number: 1000000 * major + 1000 * minor + patch, as
 * RMNET_VERSION_NUMBER is that of the header.
 */
uint32_t rmnet_version_number(void);

/**
 * Hands what the library and wgpu log to a function of the caller, up to the level `max_level`, a value
 * of rmnet_log_level. Without a function nothing is logged.
 *
 * A second call replaces the function of the first; NULL removes it, and `max_level` is ignored. When the
 * call returns, the previous function is not running and is not called again: until then it and its
 * `user`, which is passed on as it is, have to stay.
 *
 * RMNET_ERROR_USAGE: the level is unknown, or Rust code of the process has set a logger of its own.
 */
rmnet_status rmnet_set_log_callback(rmnet_log_callback callback,
                                    int32_t max_level,
                                    void *user);

/**
 * Opens a checkpoint: a file (.safetensors, .pth, .pt, .bin) or a folder with one. `config.json` and
 * `preprocessor_config.json` beside the file are read too. The call returns when the device is ready,
 * which may take seconds.
 *
 * `path` is UTF-8, on Unix any bytes. `options` may be NULL. On success `*session` is a session that
 * the caller frees with rmnet_session_free(); on failure it is NULL.
 *
 * RMNET_ERROR_USAGE: a pointer, an option or the name of a layer is wrong. RMNET_ERROR_INPUT: the
 * checkpoint, a file beside it, the tuning or the record of self-tests cannot be read, the record cannot be
 * written, the network is none that the library knows, or the input size does not fit it.
 * RMNET_ERROR_ADAPTER: there is no such device, its limits are too small, or its driver computes every
 * kernel for some layer wrong. RMNET_ERROR_RESOURCES: there is too little memory, or the system starts no
 * thread.
 */
rmnet_status rmnet_session_open(const char *path,
                                const struct rmnet_options *options,
                                struct rmnet_session **session);

/**
 * Opens a checkpoint in memory: the `len` bytes of a .safetensors, .pth, .pt or .bin file.
 *
 * `config_json` and `preprocessor_json` are the texts of the files `config.json` and
 * `preprocessor_config.json`, or NULL: without them there are no labels, and images are prepared as is
 * usual for the family. Everything is copied: the caller may free it when the call returns.
 *
 * `options` may be NULL. On success `*session` is a session that the caller frees with
 * rmnet_session_free(); on failure it is NULL. The failures are those of rmnet_session_open().
 */
rmnet_status rmnet_session_open_bytes(const void *bytes,
                                      size_t len,
                                      const char *config_json,
                                      const char *preprocessor_json,
                                      const struct rmnet_options *options,
                                      struct rmnet_session **session);

/**
 * Frees a session, and with it every text that it has lent. No other thread may be using it. NULL is
 * legal and does nothing.
 */
void rmnet_session_free(struct rmnet_session *session);

/**
 * Writes the shape of a full batch's input: batch, channels, height, width. RMNET_ERROR_USAGE: a pointer
 * is NULL.
 */
rmnet_status rmnet_session_input_shape(const struct rmnet_session *session,
                                       size_t shape[4]);

/**
 * Writes the shape of a full batch's output: batch, channels, height, width. Logits have height and
 * width 1, and their channels are the classes. RMNET_ERROR_USAGE: a pointer is NULL.
 */
rmnet_status rmnet_session_output_shape(const struct rmnet_session *session, size_t shape[4]);

/**
 * The number of floats in the input of `images` images; 0 if `session` is NULL, or if `images` is 0 or
 * more than the session's batch.
 */
size_t rmnet_session_input_len(const struct rmnet_session *session,
                               size_t images);

/**
 * The number of floats in the output of `images` images; 0 if `session` is NULL, or if `images` is 0 or
 * more than the session's batch.
 */
size_t rmnet_session_output_len(const struct rmnet_session *session,
                                size_t images);

/**
 * Runs 1 to batch images. `input` is planar, [images, channels, height, width], and its length says how
 * many images there are (rmnet_session_input_len()). `output` belongs to the caller and has room for
 * `output_len` floats, at least rmnet_session_output_len() of these images; it gets
 * [images, channels, height, width], for logits [images, classes]. A call that fails leaves it as it is.
 *
 * A smaller number of images takes as long as a full batch. The call returns when the output is there.
 * Several threads may run one session at the same time, with buffers of their own.
 *
 * RMNET_ERROR_USAGE: a length is wrong. RMNET_ERROR_INPUT: the input or the output is not finite.
 * RMNET_ERROR_RESOURCES: the device was lost, or did not respond in time.
 */
rmnet_status rmnet_session_run(const struct rmnet_session *session,
                               const float *input,
                               size_t input_len,
                               float *output,
                               size_t output_len);

/**
 * Prepares images as the model's config says: resizes, crops and normalises them. `images` are `count`
 * images, 1 to batch, each of any size and format. `input` belongs to the caller and has room for
 * `input_len` floats, at least rmnet_session_input_len() of `count` images; it gets
 * [count, channels, height, width], which is what rmnet_session_run() takes. A call that fails leaves
 * it as it is.
 *
 * A network of three channels takes every format: alpha is dropped and gray is repeated. A network of
 * one channel takes the luma of colours. A network of four channels takes formats with alpha.
 *
 * RMNET_ERROR_USAGE: a pointer, a number of images, a length, a stride or a format is wrong.
 * RMNET_ERROR_INPUT: an image is empty or too large, has no alpha for a network of four channels, or
 * cannot be prepared as the model's config says. RMNET_ERROR_RESOURCES: there is too little memory.
 */
rmnet_status rmnet_session_input_from_pixels(const struct rmnet_session *session,
                                             const struct rmnet_pixels *images,
                                             size_t count,
                                             float *input,
                                             size_t input_len);

/**
 * Reads a PNG or JPEG file.
 *
 * `channels` is 1, 3 or 4, the channels of the network that the image is for: shape[1] of
 * rmnet_session_input_shape(). 4 is for images with transparency. `orientation` is a value of
 * rmnet_orientation. `path` is UTF-8, on Unix any bytes. The file has at most 256 MiB, and decoding
 * takes at most 512 MiB. On success `*image` is an image that the caller frees with
 * rmnet_image_free(); on failure it is NULL.
 *
 * RMNET_ERROR_USAGE: a pointer is NULL, or `channels` or `orientation` is another number.
 * RMNET_ERROR_INPUT: the file cannot be read, is no PNG or JPEG file, is damaged, or is too large.
 */
rmnet_status rmnet_image_open(const char *path,
                              size_t channels,
                              int32_t orientation,
                              struct rmnet_image **image);

/**
 * Decodes a PNG or JPEG file in memory, the `len` bytes at `bytes`, as rmnet_image_open() does, with the
 * same failures. The bytes are not needed after the call.
 */
rmnet_status rmnet_image_decode(const void *bytes,
                                size_t len,
                                size_t channels,
                                int32_t orientation,
                                struct rmnet_image **image);

/**
 * Writes the pixels of an image, for rmnet_session_input_from_pixels(). `pixels->data` is lent: it is
 * valid until the image is freed. RMNET_ERROR_USAGE: a pointer is NULL.
 */
rmnet_status rmnet_image_pixels(const struct rmnet_image *image,
                                struct rmnet_pixels *pixels);

/**
 * Frees an image and its pixels. NULL is legal and does nothing.
 */
void rmnet_image_free(struct rmnet_image *image);

/**
 * Writes what the output is, a value of rmnet_output: only logits have classes. RMNET_ERROR_USAGE: a
 * pointer is NULL.
 */
rmnet_status rmnet_session_output_kind(const struct rmnet_session *session,
                                       int32_t *kind);

/**
 * Writes the `k` classes of one image with the largest logits, largest first; fewer if the network has
 * fewer classes. `logits` are the `logits_len` values of one image, a row of what rmnet_session_run()
 * gives. `predictions` belongs to the caller and has room for `k`. `*found` is how many were written;
 * `found` may be NULL.
 *
 * RMNET_ERROR_USAGE: a pointer or a length is wrong, or the output of the session is no logits.
 * RMNET_ERROR_INPUT: the logits contain NaN or infinity.
 */
rmnet_status rmnet_session_top_k(const struct rmnet_session *session,
                                 const float *logits,
                                 size_t logits_len,
                                 struct rmnet_prediction *predictions,
                                 size_t k,
                                 size_t *found);

/**
 * Writes the probability of every class of one image, in the order of the logits; NaN for a regression.
 * `probabilities` belongs to the caller and has room for `probabilities_len`, at least `logits_len`.
 *
 * RMNET_ERROR_USAGE, RMNET_ERROR_INPUT: as for rmnet_session_top_k().
 */
rmnet_status rmnet_session_probabilities(const struct rmnet_session *session,
                                         const float *logits,
                                         size_t logits_len,
                                         double *probabilities,
                                         size_t probabilities_len);

/**
 * The network, such as "torchvision ResNet, BasicBlock [2, 2, 2, 2]". Lent by the session.
 */
const char *rmnet_session_family(const struct rmnet_session *session);

/**
 * What the session runs on: the adapter, or "cpu" with the number of threads. Lent by the session.
 */
const char *rmnet_session_device(const struct rmnet_session *session);

/**
 * How rmnet_session_input_from_pixels() prepares an image, such as "to 256 at the shorter side, bilinear,
 * cropped to 224x224, mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225". A text for people: later
 * versions may word it differently. Lent by the session.
 */
const char *rmnet_session_preprocess(const struct rmnet_session *session);

/**
 * 1 if the session runs on a GPU, a software GPU included; 0 if it runs on CPU threads.
 */
int32_t rmnet_session_is_on_gpu(const struct rmnet_session *session);

/**
 * The number of class names: that of the classes, or 0 if the checkpoint has no names.
 */
size_t rmnet_session_label_count(const struct rmnet_session *session);

/**
 * The name of a class, from 0 in the order of the logits; NULL if there is none. Lent by the session.
 */
const char *rmnet_session_label(const struct rmnet_session *session,
                                size_t class_index);

/**
 * The number of residual blocks and of sums of parallel branches that were looked at; 0 in the mode
 * RMNET_RESIDUAL.
 */
size_t rmnet_session_block_count(const struct rmnet_session *session);

/**
 * The name of a block, such as "layer1.0"; NULL if there is none. Lent by the session.
 */
const char *rmnet_session_block_name(const struct rmnet_session *session, size_t index);

/**
 * What was done to a block, or why it was left, such as "removed: identity shortcut, 64 channels carried
 * through 2 convolutions"; NULL if there is none. Lent by the session.
 */
const char *rmnet_session_block_outcome(const struct rmnet_session *session,
                                        size_t index);

/**
 * 1 if the block has no residual connection or parallel branches left; 0 if it was kept, or if there is
 * no such block.
 */
int32_t rmnet_session_block_is_removed(const struct rmnet_session *session,
                                       size_t index);

/**
 * The number of adapters that the device "auto" passed over before it took the CPU: software GPUs, and
 * adapters that lack a feature.
 */
size_t rmnet_session_passed_over_count(const struct rmnet_session *session);

/**
 * An adapter that was passed over, with the reason and its index; NULL if there is none. Lent by the
 * session.
 */
const char *rmnet_session_passed_over(const struct rmnet_session *session,
                                      size_t index);

/**
 * The number of kernel families that the session would use if the driver did not compute them wrong: other
 * kernels run in their place. 0 on the CPU, and where rmnet_options.skip_self_test is 1.
 */
size_t rmnet_session_quarantined_count(const struct rmnet_session *session);

/**
 * A kernel family that is left out, with the precision and the first wrong value, such as "the driver
 * computes `direct` kernels wrong in f32, so they are not used (..)"; NULL if there is none. Lent by the
 * session.
 */
const char *rmnet_session_quarantined(const struct rmnet_session *session,
                                      size_t index);

/**
 * The number of properties that were stated or assumed since no tensor shows them.
 */
size_t rmnet_session_assumed_count(const struct rmnet_session *session);

/**
 * A property as KEY=VALUE, which `rmnet_options.assume` takes; NULL if there is none. Lent by the
 * session.
 */
const char *rmnet_session_assumed(const struct rmnet_session *session, size_t index);

/**
 * The plan as text: each dispatch as a formula over slots, and the bytes. Lent by the session; NULL if
 * the session is NULL.
 */
const char *rmnet_session_plan(const struct rmnet_session *session);

/**
 * The plan as an SVG picture: which slot holds which value for how long. Lent by the session; NULL if
 * the session is NULL.
 */
const char *rmnet_session_plan_svg(const struct rmnet_session *session);

/**
 * The number of dispatches that run the kernel of `rmnet_options.tuning_path`; the others run the static
 * choice. 0 if the tuning was made for another adapter, driver or version, and on the CPU.
 */
size_t rmnet_session_tuned_dispatches(const struct rmnet_session *session);

/**
 * Writes the bytes that a session holds by now. Some buffers are made by the first run that needs them.
 * What drivers and allocators set aside is not counted. The caller sets `memory->size`.
 *
 * RMNET_ERROR_USAGE: a pointer is NULL, or the size is none of the struct.
 */
rmnet_status rmnet_session_memory(const struct rmnet_session *session,
                                  struct rmnet_memory *memory);

/**
 * Lists the adapters, which starts the drivers that are installed. An index of this list is a device for
 * `rmnet_options.device`, as text. A machine without adapters has an empty list. On success `*adapters`
 * is a list that the caller frees with rmnet_adapters_free(); on failure it is NULL.
 *
 * RMNET_ERROR_USAGE: `adapters` is NULL.
 */
rmnet_status rmnet_adapters_list(struct rmnet_adapters **adapters);

/**
 * The number of adapters; 0 if `adapters` is NULL.
 */
size_t rmnet_adapters_count(const struct rmnet_adapters *adapters);

/**
 * Writes what is known of an adapter, from 0. The caller sets `adapter->size`.
 *
 * RMNET_ERROR_USAGE: a pointer is NULL, the size is none of the struct, or there is no such adapter.
 */
rmnet_status rmnet_adapters_get(const struct rmnet_adapters *adapters,
                                size_t index,
                                struct rmnet_adapter *adapter);

/**
 * Frees a list of adapters, and every text that it has lent. NULL is legal and does nothing.
 */
void rmnet_adapters_free(struct rmnet_adapters *adapters);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/**
 * Options with every field at its default, and the size of this header's struct.
 */
static inline rmnet_options rmnet_options_default(void)
{
    rmnet_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/**
 * What rmnet_session_memory() takes: the size of this header's struct, and zeros.
 */
static inline rmnet_memory rmnet_memory_default(void)
{
    rmnet_memory memory;
    memset(&memory, 0, sizeof memory);
    memory.size = sizeof memory;
    return memory;
}

/**
 * What rmnet_adapters_get() takes: the size of this header's struct, and NULL for every text.
 */
static inline rmnet_adapter rmnet_adapter_default(void)
{
    rmnet_adapter adapter;
    memset(&adapter, 0, sizeof adapter);
    adapter.size = sizeof adapter;
    return adapter;
}

#endif /* RMNET_H */
