/* options DIGITS EMBEDDING MOBILENET: every option that the CPU heeds does what it says. */
#include "expect.h"
#include <math.h>

static const char *digits;

static rmnet_options on_cpu(void)
{
    rmnet_options options = rmnet_options_default();
    options.device = "cpu";
    return options;
}

static rmnet_session *opened(const char *path, const rmnet_options *options)
{
    rmnet_session *session = NULL;
    EXPECT(rmnet_session_open(path, options, &session) == RMNET_OK);
    return session;
}

/* The output of an input that differs from element to element. The caller frees it. */
static float *run(const rmnet_session *session)
{
    size_t in = rmnet_session_input_len(session, 1), out = rmnet_session_output_len(session, 1), i;
    float *input = floats(in, 0.0f), *output = floats(out, 0.0f);
    for (i = 0; i < in; i++)
        input[i] = (float)((i * 7919) % 101) / 101.0f - 0.5f;
    EXPECT(rmnet_session_run(session, input, in, output, out) == RMNET_OK);
    free(input);
    return output;
}

/* The largest difference, as a part of the largest value. */
static double off(const float *a, const float *b, size_t len)
{
    double most = 0.0, difference = 0.0;
    size_t i;
    for (i = 0; i < len; i++) {
        most = fmax(most, fabs((double)b[i]));
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
    }
    EXPECT(most > 0.0);
    return difference / most;
}

static int is_shape(const size_t *shape, size_t batch, size_t channels, size_t height, size_t width)
{
    return shape[0] == batch && shape[1] == channels && shape[2] == height && shape[3] == width;
}

static int kind_of(const rmnet_session *session)
{
    int kind = -1;
    EXPECT(rmnet_session_output_kind(session, &kind) == RMNET_OK);
    return kind;
}

/* An output without classes. */
static void no_classes(const rmnet_session *session)
{
    size_t out = rmnet_session_output_len(session, 1);
    float *values = floats(out, 0.5f);
    double probability;
    rmnet_prediction top;
    REFUSED(rmnet_session_top_k(session, values, out, &top, 1, NULL), RMNET_ERROR_USAGE, "expected logits");
    REFUSED(rmnet_session_probabilities(session, values, 1, &probability, 1), RMNET_ERROR_USAGE, "expected logits");
    free(values);
}

/* Size, layer and batch. */
static void shapes(void)
{
    rmnet_options options = on_cpu();
    rmnet_session *session;
    size_t shape[4];
    options.input_height = 64;
    options.input_width = 48;
    options.output = "layer3.2";
    options.batch = 2;
    session = opened(digits, &options);
    EXPECT(rmnet_session_input_shape(session, shape) == RMNET_OK && is_shape(shape, 2, 3, 64, 48));
    EXPECT(rmnet_session_output_shape(session, shape) == RMNET_OK && is_shape(shape, 2, 64, 16, 12));
    EXPECT(rmnet_session_input_len(session, 2) == 2 * 3 * 64 * 48 && rmnet_session_output_len(session, 1) == 64 * 16 * 12);
    EXPECT(strstr(rmnet_session_preprocess(session), "64x48"));
    no_classes(session);
    free(run(session));
    rmnet_session_free(session);
}

/* Each image of a batch has the input and the output that it has alone. */
static void batches(void)
{
    rmnet_options options = on_cpu();
    rmnet_session *session;
    rmnet_pixels images[2];
    static unsigned char bright[32 * 32], striped[40 * 20 * 3];
    size_t in, out, i;
    float *both, *alone, *outputs, *output;
    options.batch = 2;
    session = opened(digits, &options);
    in = rmnet_session_input_len(session, 1);
    out = rmnet_session_output_len(session, 1);
    both = floats(2 * in, 0.0f);
    alone = floats(in, 0.0f);
    outputs = floats(2 * out, 0.0f);
    output = floats(out, 0.0f);
    memset(bright, 200, sizeof bright);
    for (i = 0; i < sizeof striped; i++)
        striped[i] = (unsigned char)(i * 37);
    memset(images, 0, sizeof images);
    images[0].data = bright;
    images[0].len = sizeof bright;
    images[0].height = images[0].width = 32;
    images[0].format = RMNET_GRAY8;
    images[1].data = striped;
    images[1].len = sizeof striped;
    images[1].height = 40;
    images[1].width = 20;
    images[1].format = RMNET_RGB8;
    EXPECT(rmnet_session_input_from_pixels(session, images, 2, both, 2 * in) == RMNET_OK);
    EXPECT(off(both, both + in, in) > 0.1);
    EXPECT(rmnet_session_run(session, both, 2 * in, outputs, 2 * out) == RMNET_OK);
    EXPECT(off(outputs, outputs + out, out) > 1e-2);
    for (i = 0; i < 2; i++) {
        EXPECT(rmnet_session_input_from_pixels(session, &images[i], 1, alone, in) == RMNET_OK);
        EXPECT(memcmp(alone, both + i * in, in * sizeof *alone) == 0);
        EXPECT(rmnet_session_run(session, alone, in, output, out) == RMNET_OK);
        EXPECT(off(outputs + i * out, output, out) < 1e-5);
    }
    free(both);
    free(alone);
    free(outputs);
    free(output);
    rmnet_session_free(session);
}

/* The modes run different networks that compute the same; f16 rounds. */
static void modes(void)
{
    static const int all[] = {RMNET_STRUCTURED, RMNET_LITERAL, RMNET_RESIDUAL};
    rmnet_options options = on_cpu();
    rmnet_session *sessions[3], *half;
    float *outputs[3], *rounded;
    size_t len, i;
    for (i = 0; i < 3; i++) {
        options.mode = all[i];
        sessions[i] = opened(digits, &options);
        outputs[i] = run(sessions[i]);
        len = rmnet_session_output_len(sessions[i], 1);
        EXPECT(rmnet_session_block_count(sessions[i]) == (all[i] == RMNET_RESIDUAL ? 0 : 9));
        EXPECT(off(outputs[i], outputs[0], len) < 1e-4);
        EXPECT(i == 0 || strcmp(rmnet_session_plan(sessions[i]), rmnet_session_plan(sessions[i - 1])) != 0);
        EXPECT(kind_of(sessions[i]) == RMNET_LOGITS);
    }
    options = on_cpu();
    options.precision = RMNET_F16;
    half = opened(digits, &options);
    rounded = run(half);
    EXPECT(off(rounded, outputs[0], len) > 1e-6 && off(rounded, outputs[0], len) < 3e-2);
    free(rounded);
    rmnet_session_free(half);
    for (i = 0; i < 3; i++) {
        free(outputs[i]);
        rmnet_session_free(sessions[i]);
    }
}

static void threads(void)
{
    rmnet_options options = on_cpu();
    rmnet_session *session;
    options.threads = 2;
    session = opened(digits, &options);
    EXPECT(strcmp(rmnet_session_device(session), "cpu, 2 threads") == 0);
    rmnet_session_free(session);
    options.threads = 3;
    session = opened(digits, &options);
    EXPECT(strcmp(rmnet_session_device(session), "cpu, 3 threads") == 0);
    free(run(session));
    rmnet_session_free(session);
}

static int is_assumed(const rmnet_session *session, const char *text)
{
    size_t i;
    for (i = 0; i < rmnet_session_assumed_count(session); i++)
        if (strcmp(rmnet_session_assumed(session, i), text) == 0)
            return 1;
    return 0;
}

/* A property that is stated is listed, and is another network. */
static void assumptions(void)
{
    rmnet_options options = on_cpu();
    rmnet_session *session = opened(digits, &options);
    float *usual = run(session), *stated;
    size_t out = rmnet_session_output_len(session, 1);
    EXPECT(!is_assumed(session, "stage_strides=1,1,2"));
    rmnet_session_free(session);
    options.assume = "stage_strides=1,1,2";
    session = opened(digits, &options);
    EXPECT(is_assumed(session, "stage_strides=1,1,2"));
    stated = run(session);
    EXPECT(off(stated, usual, out) > 1e-3);
    free(usual);
    free(stated);
    rmnet_session_free(session);
}

/* An input that is not finite is refused, unless it is not searched. */
static void unchecked(void)
{
    rmnet_options options = on_cpu();
    rmnet_session *session = opened(digits, &options);
    size_t in = rmnet_session_input_len(session, 1), out = rmnet_session_output_len(session, 1);
    float *input = floats(in, 0.5f), *output = floats(out, 0.0f);
    rmnet_status status;
    input[5] = NAN;
    REFUSED(rmnet_session_run(session, input, in, output, out), RMNET_ERROR_INPUT, "the input is NaN");
    rmnet_session_free(session);
    options.unchecked_input = 1;
    session = opened(digits, &options);
    other_message();
    /* The network may hide it; what does not is found in the output. */
    status = rmnet_session_run(session, input, in, output, out);
    EXPECT(status == RMNET_OK || (status == RMNET_ERROR_INPUT && !strstr(rmnet_last_error(), "the input is")));
    free(input);
    free(output);
    rmnet_session_free(session);
}

/* The texts of the files beside a checkpoint: labels, and how images are prepared. */
static void configs(void)
{
    static const char config[] = "{\"num_classes\": 10, \"label_names\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\"]}";
    static const char preprocessor[] =
        "{\"do_resize\": true, \"size\": {\"height\": 32, \"width\": 32}, \"resample\": 2, \"do_rescale\": true,"
        " \"rescale_factor\": 0.00392156862745098, \"do_normalize\": true, \"image_mean\": [0.5, 0.5, 0.5],"
        " \"image_std\": [0.25, 0.25, 0.25]}";
    rmnet_options options = on_cpu();
    rmnet_session *session = NULL, *bare = NULL, *none = NULL;
    static unsigned char gray[8 * 8];
    rmnet_pixels image = {gray, sizeof gray, 8, 8, 0, RMNET_GRAY8};
    char path[4096], *bytes;
    size_t len, in, i;
    float *input;
    snprintf(path, sizeof path, "%s/model.safetensors", digits);
    bytes = contents(path, &len);
    EXPECT(rmnet_session_open_bytes(bytes, len, NULL, NULL, &options, &bare) == RMNET_OK);
    EXPECT(rmnet_session_label_count(bare) == 0);
    EXPECT(rmnet_session_open_bytes(bytes, len, config, preprocessor, &options, &session) == RMNET_OK);
    EXPECT(rmnet_session_label_count(session) == 10 && strcmp(rmnet_session_label(session, 9), "j") == 0);
    EXPECT(strstr(rmnet_session_preprocess(session), "mean 0.5 0.5 0.5, deviation 0.25 0.25 0.25"));
    EXPECT(strcmp(rmnet_session_preprocess(session), rmnet_session_preprocess(bare)) != 0);
    in = rmnet_session_input_len(session, 1);
    input = floats(in, 0.0f);
    memset(gray, 204, sizeof gray);
    EXPECT(rmnet_session_input_from_pixels(session, &image, 1, input, in) == RMNET_OK);
    for (i = 0; i < in; i++)
        EXPECT(fabs((double)input[i] - (204.0 / 255.0 - 0.5) / 0.25) < 1e-5);
    REFUSED(rmnet_session_open_bytes(bytes, len, NULL, "[", &options, &none), RMNET_ERROR_INPUT, "preprocessor config");
    free(input);
    free(bytes);
    rmnet_session_free(session);
    rmnet_session_free(bare);
}

/* What the classifier reads, and a network whose output is an embedding. */
static void other_outputs(const char *embedding)
{
    rmnet_options options = on_cpu();
    rmnet_session *session;
    size_t shape[4];
    options.output = "features";
    session = opened(digits, &options);
    EXPECT(rmnet_session_output_shape(session, shape) == RMNET_OK && is_shape(shape, 1, 64, 1, 1));
    EXPECT(kind_of(session) == RMNET_FEATURES);
    no_classes(session);
    free(run(session));
    rmnet_session_free(session);
    options.output = NULL;
    session = opened(embedding, &options);
    EXPECT(kind_of(session) == RMNET_EMBEDDING && rmnet_session_output_len(session, 1) == 24);
    no_classes(session);
    free(run(session));
    rmnet_session_free(session);
}

static void merge(const char *mobilenet)
{
    rmnet_options options = on_cpu();
    rmnet_session *apart = opened(mobilenet, &options), *merged;
    float *expected = run(apart), *found;
    options.merge = 1;
    merged = opened(mobilenet, &options);
    found = run(merged);
    EXPECT(strcmp(rmnet_session_plan(apart), rmnet_session_plan(merged)) != 0);
    EXPECT(off(found, expected, rmnet_session_output_len(apart, 1)) < 1e-4);
    free(expected);
    free(found);
    rmnet_session_free(apart);
    rmnet_session_free(merged);
}

int main(int argc, char **argv)
{
    EXPECT(argc == 4);
    digits = argv[1];
    shapes();
    batches();
    modes();
    threads();
    assumptions();
    unchecked();
    configs();
    other_outputs(argv[2]);
    merge(argv[3]);
    puts("heeded");
    return 0;
}
