// include CHECKPOINT IMAGE: the header in C++. Functions link with C names, structs and enums are types of C++.
#include <rmnet.h>
#include <rmnet.h> // twice is once
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Free {
    void operator()(rmnet_session *session) const { rmnet_session_free(session); }
    void operator()(rmnet_image *image) const { rmnet_image_free(image); }
};
using Session = std::unique_ptr<rmnet_session, Free>;
using Image = std::unique_ptr<rmnet_image, Free>;

static void check(rmnet_status status)
{
    if (status == RMNET_ERROR_USAGE)
        throw std::invalid_argument(rmnet_last_error());
    if (status != RMNET_OK)
        throw std::runtime_error(rmnet_last_error());
}

static Session open(const std::string &path)
{
    rmnet_options options = rmnet_options_default();
    options.precision = RMNET_F16;
    options.device = "cpu";
    rmnet_session *opened = nullptr;
    check(rmnet_session_open(path.c_str(), &options, &opened));
    return Session(opened);
}

static std::vector<float> run(const rmnet_session *session, const std::string &path)
{
    rmnet_image *opened = nullptr;
    check(rmnet_image_open(path.c_str(), 3, RMNET_ORIENTATION_APPLY, &opened));
    const Image image(opened);
    rmnet_pixels pixels;
    check(rmnet_image_pixels(image.get(), &pixels));
    std::vector<float> input(rmnet_session_input_len(session, 1)), output(rmnet_session_output_len(session, 1));
    check(rmnet_session_input_from_pixels(session, &pixels, 1, input.data(), input.size()));
    check(rmnet_session_run(session, input.data(), input.size(), output.data(), output.size()));
    return output;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const Session session = open(argv[1]);
    const std::vector<float> logits = run(session.get(), argv[2]);
    rmnet_prediction best;
    std::size_t found = 0;
    check(rmnet_session_top_k(session.get(), logits.data(), logits.size(), &best, 1, &found));
    rmnet_memory memory = rmnet_memory_default();
    check(rmnet_session_memory(session.get(), &memory));
    const rmnet_adapter adapter = rmnet_adapter_default();
    try {
        open("no such file");
    } catch (const std::invalid_argument &) {
        return 1;
    } catch (const std::runtime_error &error) {
        if (found == 1 && memory.total > 0 && adapter.size == sizeof adapter)
            std::printf("class %zu, %s\n", best.class_index, error.what());
    }
    return 0;
}
