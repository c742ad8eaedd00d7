/* refusals CHECKPOINT IMAGE: what is wrong is a status and a message, and touches no memory of the caller. */
#include "expect.h"
#include <math.h>

static void structs(const char *checkpoint)
{
    struct newer { rmnet_options known; size_t unknown; } newer;
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = (rmnet_session *)&options;
    options.size = 0;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options: expected `size`");
    EXPECT(session == NULL); /* also where the call failed */
    options.size = offsetof(rmnet_options, self_test_record_path) - 1; /* less than the first version had */
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "found");
    options.size = 2 * sizeof options + 1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options: expected `size`");
    options.size = (size_t)-1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "found");

    /* The struct of an older header: what lies behind it is not read. */
    options = rmnet_options_default();
    options.size = offsetof(rmnet_options, self_test_record_path);
    options.device = "cpu";
    options.reserved = 1;
    EXPECT(rmnet_session_open(checkpoint, &options, &session) == RMNET_OK);
    rmnet_session_free(session);
    session = NULL;

    /* The struct of a newer header: accepted unless a field is set that this library does not know. */
    memset(&newer, 0, sizeof newer);
    newer.known = rmnet_options_default();
    newer.known.size = sizeof newer;
    newer.known.device = "cpu";
    EXPECT(rmnet_session_open(checkpoint, &newer.known, &session) == RMNET_OK);
    rmnet_session_free(session);
    newer.unknown = 1;
    REFUSED(rmnet_session_open(checkpoint, &newer.known, &session), RMNET_ERROR_USAGE, "newer version");
}

static void options(const char *checkpoint)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL;
    options.device = "no such adapter";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_ADAPTER, "no such adapter");
    options.device = "pci:ffff:ff:1f.7";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_ADAPTER, "ffff:ff:1f.7");
    options.device = "best\xff";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.device: expected UTF-8, found other bytes from byte 4");
    options.device = "";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "empty text");
    options.device = "cpu";
    options.precision = 7;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.precision");
    options.precision = RMNET_F32;
    options.mode = -1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.mode");
    options.mode = RMNET_STRUCTURED;
    options.merge = 2;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.merge: expected 0 or 1, found 2");
    options.merge = 0;
    options.unchecked_input = -1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.unchecked_input");
    options.unchecked_input = 0;
    options.safe_shaders = 2;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.safe_shaders");
    options.safe_shaders = 0;
    options.skip_self_test = 2;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.skip_self_test: expected 0 or 1, found 2");
    options.skip_self_test = 0;
    options.reserved = 1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.reserved: expected 0, found 1");
    options.reserved = 0;
    options.output = "no such layer";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "no such layer");
    options.output = NULL;
    options.assume = "stem_pool";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "options.assume");
    options.assume = NULL;
    options.tuning_path = "no such file.json";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_INPUT, "no such file.json");
    options.tuning_path = NULL;
    options.input_height = 64;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "input_width");
    options.input_width = (size_t)-1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_INPUT, "input size 64x");
    options.input_height = options.input_width = 0;
    options.batch = (size_t)-1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_USAGE, "batch: expected at most");
    options.batch = 0;
    options.threads = (size_t)-1;
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_RESOURCES, "threads cannot be had");
}

static void files(const char *image_file)
{
    rmnet_session *session = NULL;
    rmnet_image *image = NULL;
    REFUSED(rmnet_session_open("no such file", NULL, &session), RMNET_ERROR_INPUT, "no such file");
    REFUSED(rmnet_session_open("\xff\xfe", NULL, &session), RMNET_ERROR_INPUT, "No such file");
    REFUSED(rmnet_session_open(image_file, NULL, &session), RMNET_ERROR_INPUT, "an image; expected safetensors");
    REFUSED(rmnet_session_open(NULL, NULL, &session), RMNET_ERROR_USAGE, "path: expected a pointer, found NULL");
    REFUSED(rmnet_session_open(image_file, NULL, NULL), RMNET_ERROR_USAGE, "session: expected a pointer, found NULL");
    REFUSED(rmnet_session_open_bytes(NULL, 0, NULL, NULL, NULL, &session), RMNET_ERROR_INPUT, "found 0");
    REFUSED(rmnet_session_open_bytes(NULL, 9, NULL, NULL, NULL, &session), RMNET_ERROR_USAGE, "bytes");
    REFUSED(rmnet_session_open_bytes("spam spam", 9, NULL, NULL, NULL, &session), RMNET_ERROR_INPUT, "found a file of 9");
    REFUSED(rmnet_session_open_bytes("spam", 4, "\xff", NULL, NULL, &session), RMNET_ERROR_USAGE, "config_json");

    REFUSED(rmnet_image_open("no such image", 3, 0, &image), RMNET_ERROR_INPUT, "no such image");
    REFUSED(rmnet_image_open("\xff\xfe", 3, 0, &image), RMNET_ERROR_INPUT, "No such file");
    REFUSED(rmnet_image_open("/dev/zero", 3, 0, &image), RMNET_ERROR_INPUT, "regular file");
    REFUSED(rmnet_image_open(__FILE__, 3, 0, &image), RMNET_ERROR_INPUT, "PNG or JPEG");
    REFUSED(rmnet_image_open(image_file, 2, 0, &image), RMNET_ERROR_USAGE, "channels");
    REFUSED(rmnet_image_open(image_file, 3, 2, &image), RMNET_ERROR_USAGE, "orientation");
    REFUSED(rmnet_image_open(NULL, 3, 0, &image), RMNET_ERROR_USAGE, "path");
    REFUSED(rmnet_image_open(image_file, 3, 0, NULL), RMNET_ERROR_USAGE, "image");
    REFUSED(rmnet_image_decode("spam", 4, 3, 0, &image), RMNET_ERROR_INPUT, "PNG or JPEG");
    EXPECT(image == NULL);
}

static void runs(const rmnet_session *session)
{
    size_t in = rmnet_session_input_len(session, 1), out = rmnet_session_output_len(session, 1), i;
    float *input = floats(2 * in, 0.5f), *output = floats(2 * out, 7.0f);
    EXPECT(rmnet_session_input_len(session, 2) == 2 * in && rmnet_session_output_len(session, 2) == 2 * out);
    EXPECT(rmnet_session_input_len(session, 0) == 0 && rmnet_session_input_len(session, 3) == 0);
    REFUSED(rmnet_session_run(NULL, input, in, output, out), RMNET_ERROR_USAGE, "session");
    REFUSED(rmnet_session_run(session, NULL, in, output, out), RMNET_ERROR_USAGE, "input");
    REFUSED(rmnet_session_run(session, input, in, NULL, out), RMNET_ERROR_USAGE, "output");
    REFUSED(rmnet_session_run(session, input, 0, output, out), RMNET_ERROR_USAGE, "input: expected 1 to 2 images");
    REFUSED(rmnet_session_run(session, input, in - 1, output, out), RMNET_ERROR_USAGE, "input");
    REFUSED(rmnet_session_run(session, input, 3 * in, output, 3 * out), RMNET_ERROR_USAGE, "input");
    REFUSED(rmnet_session_run(session, input, in, output, out - 1), RMNET_ERROR_USAGE, "output: expected");
    REFUSED(rmnet_session_run(session, input, 2 * in, output, out), RMNET_ERROR_USAGE, "output: expected");
    REFUSED(rmnet_session_run(session, (float *)((char *)input + 1), in, output, out), RMNET_ERROR_USAGE, "multiple of 4");
    input[5] = NAN;
    REFUSED(rmnet_session_run(session, input, in, output, out), RMNET_ERROR_INPUT, "NaN");
    for (i = 0; i < 2 * out; i++)
        EXPECT(output[i] == 7.0f); /* a call that fails writes nothing */
    input[5] = 0.5f;
    EXPECT(rmnet_session_run(session, input, in, output, 2 * out) == RMNET_OK); /* more room than needed */
    for (i = out; i < 2 * out; i++)
        EXPECT(output[i] == 7.0f);
    free(input);
    free(output);
}

static void pixels(const rmnet_session *session)
{
    static unsigned char data[4 * 4 * 3];
    size_t in = rmnet_session_input_len(session, 1), i;
    float *input = floats(2 * in, 0.0f);
    rmnet_pixels wide = {NULL, 1 << 20, 1, 1 << 20, 0, RMNET_GRAY8};
    rmnet_pixels images[3] = {{data, sizeof data, 4, 4, 0, RMNET_RGB8}};
    images[1] = images[2] = images[0];
    EXPECT(rmnet_session_input_from_pixels(session, images, 2, input, 2 * in) == RMNET_OK);
    REFUSED(rmnet_session_input_from_pixels(NULL, images, 1, input, in), RMNET_ERROR_USAGE, "session");
    REFUSED(rmnet_session_input_from_pixels(session, NULL, 1, input, in), RMNET_ERROR_USAGE, "images");
    REFUSED(rmnet_session_input_from_pixels(session, images, 1, NULL, in), RMNET_ERROR_USAGE, "input");
    REFUSED(rmnet_session_input_from_pixels(session, images, 0, input, in), RMNET_ERROR_USAGE, "1 to 2 images");
    REFUSED(rmnet_session_input_from_pixels(session, images, 3, input, 2 * in), RMNET_ERROR_USAGE, "1 to 2 images");
    REFUSED(rmnet_session_input_from_pixels(session, images, 1, input, in - 1), RMNET_ERROR_USAGE, "input: expected room");
    REFUSED(rmnet_session_input_from_pixels(session, images, 2, input, in), RMNET_ERROR_USAGE, "input: expected room");
    for (i = 0; i < in; i++)
        input[in + i] = 7.0f;
    EXPECT(rmnet_session_input_from_pixels(session, images, 1, input, 2 * in) == RMNET_OK); /* more room than needed */
    for (i = 0; i < in; i++)
        EXPECT(input[in + i] == 7.0f);
    images[1].len--;
    REFUSED(rmnet_session_input_from_pixels(session, images, 2, input, 2 * in), RMNET_ERROR_USAGE, "image 1: expected 48 bytes");
    images[1].stride = 15;
    images[1].len = 3 * 15 + 11;
    REFUSED(rmnet_session_input_from_pixels(session, images, 2, input, 2 * in), RMNET_ERROR_USAGE, "image 1: expected 57 bytes");
    images[1] = images[2];
    images[1].height = 0;
    images[1].len = 0;
    REFUSED(rmnet_session_input_from_pixels(session, images, 2, input, 2 * in), RMNET_ERROR_USAGE, "image 1");
    images[1] = images[2];
    images[1].format = 0;
    REFUSED(rmnet_session_input_from_pixels(session, images, 2, input, 2 * in), RMNET_ERROR_USAGE, "RMNET_GRAY8");
    images[0].data = NULL;
    REFUSED(rmnet_session_input_from_pixels(session, images, 1, input, in), RMNET_ERROR_USAGE, "image 0: data");
    images[0] = images[2];
    images[0].stride = 11;
    REFUSED(rmnet_session_input_from_pixels(session, images, 1, input, in), RMNET_ERROR_USAGE, "stride of at least 12");
    images[0] = images[2];
    images[0].height = (size_t)-1;
    images[0].stride = (size_t)-1;
    REFUSED(rmnet_session_input_from_pixels(session, images, 1, input, in), RMNET_ERROR_USAGE, "image 0: expected");
    wide.data = calloc(1, wide.len);
    EXPECT(wide.data);
    REFUSED(rmnet_session_input_from_pixels(session, &wide, 1, input, in), RMNET_ERROR_INPUT, "sides");
    free((void *)wide.data);
    free(input);
}

static void classes(const rmnet_session *session)
{
    size_t out = rmnet_session_output_len(session, 1), found = 9;
    float *logits = floats(out, 0.0f);
    double *probabilities = malloc(out * sizeof *probabilities);
    rmnet_prediction top[64];
    EXPECT(out < 64 && probabilities);
    REFUSED(rmnet_session_top_k(NULL, logits, out, top, 1, &found), RMNET_ERROR_USAGE, "session");
    EXPECT(found == 0);
    REFUSED(rmnet_session_top_k(session, NULL, out, top, 1, NULL), RMNET_ERROR_USAGE, "logits");
    REFUSED(rmnet_session_top_k(session, logits, out, NULL, 1, &found), RMNET_ERROR_USAGE, "predictions");
    REFUSED(rmnet_session_top_k(session, logits, out - 1, top, 1, &found), RMNET_ERROR_USAGE, "logits");
    EXPECT(rmnet_session_top_k(session, logits, out, top, 64, &found) == RMNET_OK && found == out);
    EXPECT(rmnet_session_top_k(session, logits, out, NULL, 0, &found) == RMNET_OK && found == 0);
    REFUSED(rmnet_session_probabilities(session, logits, out, NULL, out), RMNET_ERROR_USAGE, "probabilities");
    REFUSED(rmnet_session_probabilities(session, logits, out, probabilities, out - 1), RMNET_ERROR_USAGE, "room");
    REFUSED(rmnet_session_probabilities(session, logits, 1, probabilities, out), RMNET_ERROR_USAGE, "logits");
    EXPECT(rmnet_session_probabilities(session, logits, out, probabilities, out) == RMNET_OK);
    EXPECT(fabs(probabilities[0] * (double)out - 1.0) < 1e-9);
    free(logits);
    free(probabilities);
}

static void nothing(const rmnet_session *session)
{
    size_t shape[4];
    int kind;
    rmnet_memory memory;
    rmnet_adapter adapter;
    rmnet_adapters *adapters = NULL;
    REFUSED(rmnet_session_input_shape(NULL, shape), RMNET_ERROR_USAGE, "session");
    REFUSED(rmnet_session_output_shape(session, NULL), RMNET_ERROR_USAGE, "shape");
    REFUSED(rmnet_session_output_kind(NULL, &kind), RMNET_ERROR_USAGE, "session");
    REFUSED(rmnet_session_output_kind(session, NULL), RMNET_ERROR_USAGE, "kind");
    memory = rmnet_memory_default();
    EXPECT(rmnet_session_memory(session, &memory) == RMNET_OK && memory.weights > 0);
    memory.size = 1;
    REFUSED(rmnet_session_memory(session, &memory), RMNET_ERROR_USAGE, "memory: expected `size`");
    REFUSED(rmnet_session_memory(session, NULL), RMNET_ERROR_USAGE, "memory");
    EXPECT(!rmnet_session_input_len(NULL, 1) && !rmnet_session_output_len(NULL, 1));
    EXPECT(!rmnet_session_family(NULL) && !rmnet_session_device(NULL) && !rmnet_session_is_on_gpu(NULL));
    EXPECT(!rmnet_session_label_count(NULL) && !rmnet_session_label(NULL, 0));
    EXPECT(!rmnet_session_label(session, rmnet_session_label_count(session)));
    EXPECT(!rmnet_session_block_count(NULL) && !rmnet_session_block_name(NULL, 0));
    EXPECT(!rmnet_session_block_outcome(session, (size_t)-1) && !rmnet_session_block_is_removed(session, (size_t)-1));
    EXPECT(!rmnet_session_passed_over_count(NULL) && !rmnet_session_passed_over(session, 0));
    EXPECT(!rmnet_session_assumed_count(NULL) && !rmnet_session_assumed(session, (size_t)-1));
    EXPECT(!rmnet_session_tuned_dispatches(NULL) && !rmnet_session_tuned_dispatches(session));
    EXPECT(!rmnet_session_preprocess(NULL) && strstr(rmnet_session_preprocess(session), "32x32"));
    EXPECT(!rmnet_session_plan(NULL) && !rmnet_session_plan_svg(NULL));
    REFUSED(rmnet_image_pixels(NULL, NULL), RMNET_ERROR_USAGE, "image");
    REFUSED(rmnet_adapters_list(NULL), RMNET_ERROR_USAGE, "adapters");
    EXPECT(rmnet_adapters_count(NULL) == 0);
    adapter = rmnet_adapter_default();
    EXPECT(adapter.size == sizeof adapter && adapter.name == NULL);
    REFUSED(rmnet_adapters_get(NULL, 0, &adapter), RMNET_ERROR_USAGE, "adapters");
    EXPECT(rmnet_adapters_list(&adapters) == RMNET_OK);
    REFUSED(rmnet_adapters_get(adapters, rmnet_adapters_count(adapters), &adapter), RMNET_ERROR_USAGE, "index");
    rmnet_adapters_free(adapters);
    rmnet_adapters_free(NULL);
    rmnet_image_free(NULL);
    rmnet_session_free(NULL);
    EXPECT(rmnet_set_log_callback(NULL, RMNET_LOG_INFO, NULL) == RMNET_OK); /* there is none to remove */
}

int main(int argc, char **argv)
{
    rmnet_options batch_of_two = rmnet_options_default();
    rmnet_session *session = NULL;
    EXPECT(argc == 3);
    EXPECT(strcmp(rmnet_last_error(), "") == 0);
    EXPECT(strcmp(rmnet_version(), RMNET_VERSION) == 0 && rmnet_version_number() == RMNET_VERSION_NUMBER);
    structs(argv[1]);
    options(argv[1]);
    files(argv[2]);
    batch_of_two.device = "cpu";
    batch_of_two.batch = 2;
    EXPECT(rmnet_session_open(argv[1], &batch_of_two, &session) == RMNET_OK);
    runs(session);
    pixels(session);
    classes(session);
    nothing(session);
    rmnet_session_free(session);
    puts("refused");
    return 0;
}
