/*
 * Classifies image files: prints the five most probable classes of each.
 *
 *     cc classify.c -o classify $(pkg-config --cflags --libs rmnet)
 *     ./classify resnet50.safetensors cat.jpg dog.png
 *     ./classify --device cpu ../../../assets/digits ../../../assets/digits/images/0374_7.png
 *
 * An image that cannot be read is reported and the others go on. The exit code is the status of the
 * last failure, as that of the program rmnet.
 */
#include <rmnet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP 5

/* Reads an image file and prepares it as the model's config says. */
static rmnet_status prepare(const rmnet_session *session, const char *path, float *input, size_t input_len)
{
    size_t shape[4]; /* batch, channels, height, width */
    rmnet_image *image = NULL;
    rmnet_pixels pixels;
    rmnet_status status = rmnet_session_input_shape(session, shape);
    if (status == RMNET_OK)
        status = rmnet_image_open(path, shape[1], RMNET_ORIENTATION_APPLY, &image);
    if (status == RMNET_OK)
        status = rmnet_image_pixels(image, &pixels);
    if (status == RMNET_OK)
        status = rmnet_session_input_from_pixels(session, &pixels, 1, input, input_len);
    rmnet_image_free(image); /* NULL is legal */
    return status;
}

/* Prints the best classes of one image. */
static rmnet_status print_classes(const rmnet_session *session, const char *path, const float *logits, size_t len)
{
    rmnet_prediction top[TOP];
    size_t found, i;
    rmnet_status status = rmnet_session_top_k(session, logits, len, top, TOP, &found);
    if (status != RMNET_OK)
        return status;
    printf("%s\n", path);
    for (i = 0; i < found; i++) {
        const char *label = top[i].label ? top[i].label : "";
        printf("  %7.3f %%  class %zu  %s\n", 100.0 * top[i].probability, top[i].class_index, label);
    }
    return RMNET_OK;
}

static int classify(const rmnet_session *session, char **paths, int count)
{
    size_t input_len = rmnet_session_input_len(session, 1), output_len = rmnet_session_output_len(session, 1);
    float *input = malloc(input_len * sizeof *input), *logits = malloc(output_len * sizeof *logits);
    int code = 0, i;
    if (!input || !logits) {
        fprintf(stderr, "no memory for the input and the output\n");
        code = RMNET_ERROR_RESOURCES;
        count = 0;
    }
    for (i = 0; i < count; i++) {
        rmnet_status status = prepare(session, paths[i], input, input_len);
        if (status == RMNET_OK)
            status = rmnet_session_run(session, input, input_len, logits, output_len);
        if (status == RMNET_OK)
            status = print_classes(session, paths[i], logits, output_len);
        if (status != RMNET_OK) {
            fprintf(stderr, "%s: %s\n", paths[i], rmnet_last_error());
            code = status;
        }
    }
    free(input);
    free(logits);
    return code;
}

int main(int argc, char **argv)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL;
    rmnet_status status;
    size_t i;
    int code;
    if (argc > 2 && strcmp(argv[1], "--device") == 0) {
        options.device = argv[2];
        argv += 2;
        argc -= 2;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: classify [--device DEVICE] CHECKPOINT IMAGE...\n");
        return RMNET_ERROR_USAGE;
    }
    status = rmnet_session_open(argv[1], &options, &session);
    if (status != RMNET_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], rmnet_last_error());
        return status;
    }
    printf("%s on %s\n", rmnet_session_family(session), rmnet_session_device(session));
    for (i = 0; i < rmnet_session_passed_over_count(session); i++)
        printf("no hardware GPU: passed over %s\n", rmnet_session_passed_over(session, i));
    code = classify(session, argv + 2, argc - 2);
    rmnet_session_free(session);
    return code;
}
