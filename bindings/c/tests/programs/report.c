/* report CHECKPOINT IMAGE DEVICE: what a session says and computes, as lines that the test compares with what the Rust
 * library gives. Opens the checkpoint as a folder, and again from the bytes of its files. */
#include "expect.h"

static rmnet_session *from_bytes(const char *folder, const rmnet_options *options)
{
    char path[4096];
    size_t len, config_len;
    char *bytes, *config;
    rmnet_session *session = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    bytes = contents(path, &len);
    snprintf(path, sizeof path, "%s/config.json", folder);
    config = contents(path, &config_len);
    EXPECT(rmnet_session_open_bytes(bytes, len, config, NULL, options, &session) == RMNET_OK);
    memset(bytes, 0, len); /* nothing keeps them */
    free(bytes);
    free(config);
    return session;
}

static void describe(const rmnet_session *session)
{
    size_t in[4], out[4], i;
    int kind;
    EXPECT(rmnet_session_input_shape(session, in) == RMNET_OK);
    EXPECT(rmnet_session_output_shape(session, out) == RMNET_OK);
    EXPECT(rmnet_session_output_kind(session, &kind) == RMNET_OK);
    printf("family %s\ndevice %s\ngpu %d\n", rmnet_session_family(session), rmnet_session_device(session),
           (int)rmnet_session_is_on_gpu(session));
    printf("input [%zu, %zu, %zu, %zu]\noutput [%zu, %zu, %zu, %zu] %d\n", in[0], in[1], in[2], in[3], out[0], out[1],
           out[2], out[3], kind);
    for (i = 0; i < rmnet_session_label_count(session); i++)
        printf("label %s\n", rmnet_session_label(session, i));
    for (i = 0; i < rmnet_session_block_count(session); i++)
        printf("block %s %s %d\n", rmnet_session_block_name(session, i), rmnet_session_block_outcome(session, i),
               (int)rmnet_session_block_is_removed(session, i));
    for (i = 0; i < rmnet_session_passed_over_count(session); i++)
        printf("passed over %s\n", rmnet_session_passed_over(session, i));
    for (i = 0; i < rmnet_session_assumed_count(session); i++)
        printf("assumed %s\n", rmnet_session_assumed(session, i));
    printf("preprocess %s\n", rmnet_session_preprocess(session));
    printf("plan %s\n", rmnet_session_plan(session));
    EXPECT(rmnet_session_plan(session) == rmnet_session_plan(session)); /* made once, lent as long as the session */
    printf("svg %s\n", rmnet_session_plan_svg(session));
}

static float *run(const rmnet_session *session, const rmnet_pixels *image)
{
    size_t in = rmnet_session_input_len(session, 1), out = rmnet_session_output_len(session, 1);
    float *input = floats(in, 0.0f), *logits = floats(out, 0.0f);
    EXPECT(rmnet_session_input_from_pixels(session, image, 1, input, in) == RMNET_OK);
    EXPECT(rmnet_session_run(session, input, in, logits, out) == RMNET_OK);
    free(input);
    return logits;
}

/* The same image as BGRA with gaps between its rows gives the same input. */
static void other_format(const rmnet_session *session, const rmnet_pixels *image)
{
    size_t in = rmnet_session_input_len(session, 1), stride = image->width * 4 + 12, x, y;
    float *input = floats(in, 0.0f), *expected = floats(in, 0.0f);
    unsigned char *data = malloc(stride * image->height);
    rmnet_pixels bgra = {data, stride * image->height, image->height, image->width, stride, RMNET_BGRA8};
    EXPECT(data && image->format == RMNET_RGB8);
    memset(data, 99, stride * image->height);
    for (y = 0; y < image->height; y++)
        for (x = 0; x < image->width; x++) {
            const unsigned char *from = image->data + y * image->stride + 3 * x;
            unsigned char *to = data + y * stride + 4 * x;
            to[0] = from[2];
            to[1] = from[1];
            to[2] = from[0];
        }
    EXPECT(rmnet_session_input_from_pixels(session, image, 1, expected, in) == RMNET_OK);
    EXPECT(rmnet_session_input_from_pixels(session, &bgra, 1, input, in) == RMNET_OK);
    EXPECT(memcmp(input, expected, in * sizeof *input) == 0);
    free(data);
    free(input);
    free(expected);
}

int main(int argc, char **argv)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL, *same;
    rmnet_image *image = NULL, *decoded = NULL;
    rmnet_pixels pixels, decoded_pixels;
    rmnet_memory memory;
    rmnet_prediction top[3];
    float *logits, *again;
    double *probabilities;
    char *file;
    size_t len, i, found;
    EXPECT(argc == 4);
    options.device = argv[3];
    EXPECT(rmnet_session_open(argv[1], &options, &session) == RMNET_OK);
    describe(session);
    EXPECT(rmnet_image_open(argv[2], 3, RMNET_ORIENTATION_APPLY, &image) == RMNET_OK);
    EXPECT(rmnet_image_pixels(image, &pixels) == RMNET_OK);
    file = contents(argv[2], &len);
    EXPECT(rmnet_image_decode(file, len, 3, RMNET_ORIENTATION_IGNORE, &decoded) == RMNET_OK);
    free(file);
    EXPECT(rmnet_image_pixels(decoded, &decoded_pixels) == RMNET_OK);
    EXPECT(decoded_pixels.len == pixels.len && memcmp(decoded_pixels.data, pixels.data, pixels.len) == 0);
    rmnet_image_free(decoded);
    other_format(session, &pixels);

    logits = run(session, &pixels);
    len = rmnet_session_output_len(session, 1);
    for (i = 0; i < len; i++)
        printf("logit %.9g\n", (double)logits[i]);
    probabilities = malloc(len * sizeof *probabilities);
    EXPECT(probabilities && rmnet_session_probabilities(session, logits, len, probabilities, len) == RMNET_OK);
    EXPECT(rmnet_session_top_k(session, logits, len, top, 3, &found) == RMNET_OK && found == 3);
    for (i = 0; i < found; i++) {
        EXPECT(top[i].probability == probabilities[top[i].class_index] && top[i].logit == logits[top[i].class_index]);
        EXPECT(top[i].label == rmnet_session_label(session, top[i].class_index)); /* the same text */
        printf("top %zu %s\n", top[i].class_index, top[i].label);
    }
    memory = rmnet_memory_default();
    EXPECT(rmnet_session_memory(session, &memory) == RMNET_OK && memory.size == sizeof memory);
    EXPECT(memory.total == memory.activations + memory.scratch + memory.weights + memory.transfer && memory.weights > 0);

    same = from_bytes(argv[1], &options);
    again = run(same, &pixels);
    EXPECT(memcmp(logits, again, len * sizeof *logits) == 0);
    EXPECT(rmnet_session_label_count(same) == rmnet_session_label_count(session));
    free(logits);
    free(again);
    free(probabilities);
    rmnet_image_free(image);
    rmnet_session_free(same);
    rmnet_session_free(session);
    return 0;
}
