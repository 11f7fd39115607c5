// Tag images with OpenVINO:  tag dist/scenes photo.jpg …
#include "image.hpp"

#include <nlohmann/json.hpp>
#include <openvino/openvino.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <stdexcept>
#include <utility>
#include <vector>

// The version of tagger.json and the steps of this program, as the file describes them.
const nlohmann::json KNOWN = {
    {"version", 1},
    {"preprocessing",
     {{"jpeg", "decoded at the smallest DCT scale that is at least twice image_px"},
      {"resize", "plain, to a square, Pillow BILINEAR (antialiased)"},
      {"values", "uint8, normalisation is inside the model"}}},
};

nlohmann::json read_description(const std::string& file) {
    auto tagger = nlohmann::json::parse(std::ifstream(file), nullptr, false);
    if (tagger.is_discarded()) throw std::runtime_error(file + ": expected JSON; give the folder of a bundle");
    auto patched = tagger;
    patched.merge_patch(KNOWN);
    if (patched != tagger)
        throw std::runtime_error(file + ": expected " + KNOWN.dump() + ", got version " + tagger["version"].dump() + ", " +
                                 tagger["preprocessing"].dump());
    return tagger;
}

int main(int count, char** arguments) try {
    if (count < 2) return std::fprintf(stderr, "usage: tag BUNDLE IMAGE...\n"), 2;
    const std::string bundle = arguments[1];
    const auto tagger = read_description(bundle + "/tagger.json");
    const auto& models = tagger["models"];
    const auto model = std::find_if(models.begin(), models.end(), [](const auto& model) {
        return model["runtime"] == "openvino" && model["precision"] == "fp32";
    });
    if (model == models.end()) return std::fprintf(stderr, "%s: no OpenVINO model in fp32\n", arguments[1]), 2;
    const std::vector<std::string> labels = tagger["labels"];
    const std::vector<float> thresholds = (*model)["thresholds"];
    const int side = tagger["input"]["shape"][1];

    ov::Core core;  // without the hint, processors with AMX compute in bfloat16
    auto request = core.compile_model(bundle + "/" + (*model)["file"].get<std::string>(), "CPU",
                                      ov::hint::inference_precision(ov::element::f32))
                       .create_infer_request();
    for (int at = 2; at < count; ++at) {
        auto image = resize(read_image(arguments[at], side), side);
        request.set_input_tensor(ov::Tensor(ov::element::u8, {1, size_t(side), size_t(side), 3}, image.pixels.data()));
        request.infer();
        const float* scores = request.get_output_tensor().data<float>();
        std::vector<std::pair<float, std::string>> tags;
        for (size_t label = 0; label < labels.size(); ++label)
            if (scores[label] >= thresholds[label]) tags.emplace_back(scores[label], labels[label]);
        std::sort(tags.rbegin(), tags.rend());
        std::printf("%s:", arguments[at]);
        const char* before = " ";
        for (const auto& [score, label] : tags) {
            std::printf("%s%s %.2f", before, label.c_str(), score);
            before = ", ";
        }
        std::puts(tags.empty() ? " nothing above its threshold" : "");
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "tag: %s\n", error.what());
    return 1;
}
