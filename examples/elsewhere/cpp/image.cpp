#include "image.hpp"

#include <jpeglib.h>
#include <libexif/exif-data.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

namespace {

using Bytes = std::vector<std::uint8_t>;

[[noreturn]] void fail(j_common_ptr jpeg) {
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    throw std::runtime_error(message);
}

struct Decoder : jpeg_decompress_struct {
    jpeg_error_mgr errors;
    Decoder() {
        err = jpeg_std_error(&errors);
        errors.error_exit = fail;
        jpeg_create_decompress(this);
    }
    ~Decoder() { jpeg_destroy_decompress(this); }
};

Image read_jpeg(std::FILE* stream, int side) {
    Decoder jpeg;
    jpeg_stdio_src(&jpeg, stream);
    jpeg_read_header(&jpeg, TRUE);
    const unsigned smaller = std::min(jpeg.image_width, jpeg.image_height);
    jpeg.scale_denom = 8;
    while (jpeg.scale_denom > 1 && smaller < jpeg.scale_denom * 2 * side) jpeg.scale_denom /= 2;
    jpeg.scale_num = 1;
    const bool cmyk = jpeg.num_components == 4;
    jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&jpeg);
    Image image{int(jpeg.output_width), int(jpeg.output_height), {}};
    Bytes row(image.width * jpeg.output_components);
    while (jpeg.output_scanline < jpeg.output_height) {
        std::uint8_t* to = row.data();
        jpeg_read_scanlines(&jpeg, &to, 1);
        if (!cmyk) image.pixels.insert(image.pixels.end(), row.begin(), row.end());
        for (int x = 0; cmyk && x < image.width; ++x)  // stored inverted: 255 is no ink
            for (int c = 0; c < 3; ++c) image.pixels.push_back((row[4 * x + c] * row[4 * x + 3] + 127) / 255);
    }
    jpeg_finish_decompress(&jpeg);
    return image;
}

Image read_png(const std::string& file) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&png, file.c_str())) throw std::runtime_error(png.message);
    png.format = PNG_FORMAT_RGBA;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
    Bytes rgba(PNG_IMAGE_SIZE(png));
    if (!png_image_finish_read(&png, nullptr, rgba.data(), 0, nullptr)) throw std::runtime_error(png.message);
    Image image{int(png.width), int(png.height), {}};
    for (std::size_t at = 0; at < rgba.size(); at += 4)
        for (int c = 0; c < 3; ++c)  // over white, rounded
            image.pixels.push_back((rgba[at + c] * rgba[at + 3] + 255 * (255 - rgba[at + 3]) + 127) / 255);
    return image;
}

// EXIF data of the chunk eXIf; libexif reads them with the header that they have in a JPEG.
ExifData* png_exif(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    const std::string png(std::istreambuf_iterator<char>(stream), {});
    for (std::size_t at = 8, length; at + 12 <= png.size(); at += 12 + length) {
        length = png_get_uint_32(reinterpret_cast<const png_byte*>(&png[at]));
        if (png.compare(at + 4, 4, "eXIf") != 0) continue;
        const std::string exif = std::string("Exif\0\0", 6) + png.substr(at + 8, length);
        return exif_data_new_from_data(reinterpret_cast<const unsigned char*>(exif.data()), unsigned(exif.size()));
    }
    return nullptr;
}

int orientation(ExifData* data) {
    const std::unique_ptr<ExifData, void (*)(ExifData*)> exif(data, exif_data_unref);
    const ExifEntry* entry = exif ? exif_data_get_entry(exif.get(), EXIF_TAG_ORIENTATION) : nullptr;
    return entry ? exif_get_short(entry->data, exif_data_get_byte_order(exif.get())) : 1;
}

// EXIF orientations: 5 to 8 exchange rows and columns, the others mirror or turn by 180 degrees.
Image upright(const Image& image, int orientation) {
    if (orientation < 2 || orientation > 8) return image;
    const bool swap = orientation >= 5;
    const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    Image turned{swap ? image.height : image.width, swap ? image.width : image.height, {}};
    for (int y = 0; y < turned.height; ++y)
        for (int x = 0; x < turned.width; ++x) {
            const int column = swap ? y : x, row = swap ? x : y;
            const int from_x = mirror_x ? image.width - 1 - column : column;
            const int from_y = mirror_y ? image.height - 1 - row : row;
            const auto* from = &image.pixels[3 * (from_y * image.width + from_x)];
            turned.pixels.insert(turned.pixels.end(), from, from + 3);
        }
    return turned;
}

// The middle axis of (outer, size, inner), by a triangle filter that is widened by the reduction; weights have 22 bits.
Bytes resize_axis(const Bytes& pixels, int outer, int size, int inner, int target) {
    Bytes result(outer * target * inner);
    const double reduction = double(size) / target, support = std::max(1.0, reduction);
    const auto triangle = [&](int from, double centre) { return std::max(0.0, 1 - std::abs(from - centre + 0.5) / support); };
    for (int to = 0; to < target; ++to) {
        const double centre = (to + 0.5) * reduction;
        const int first = std::max(0, int(centre - support + 0.5)), end = std::min(size, int(centre + support + 0.5));
        double total = 0;
        for (int from = first; from < end; ++from) total += triangle(from, centre);
        std::vector<int> weights;
        for (int from = first; from < end; ++from) weights.push_back(int(triangle(from, centre) / total * (1 << 22) + 0.5));
        for (int row = 0; row < outer; ++row)
            for (int column = 0; column < inner; ++column) {
                int sum = 1 << 21;
                for (int from = first; from < end; ++from)
                    sum += weights[from - first] * pixels[(row * size + from) * inner + column];
                result[(row * target + to) * inner + column] = std::uint8_t(sum >> 22);
            }
    }
    return result;
}

}  // namespace

Image read_image(const std::string& file, int side) try {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "rb"), std::fclose);
    if (!stream) throw std::runtime_error("no such file");
    const bool is_jpeg = std::getc(stream.get()) == 0xff;
    std::rewind(stream.get());
    if (is_jpeg) return upright(read_jpeg(stream.get(), side), orientation(exif_data_new_from_file(file.c_str())));
    return upright(read_png(file), orientation(png_exif(file)));
} catch (const std::exception& error) {
    throw std::runtime_error(file + ": " + error.what());
}

Image resize(const Image& image, int side) {
    if (image.height > 2 * image.width - side) {  // tall images: as Pillow 13
        const auto low = resize_axis(image.pixels, 1, image.height, 3 * image.width, side);
        return {side, side, resize_axis(low, side, image.width, 3, side)};
    }
    const auto narrow = resize_axis(image.pixels, image.height, image.width, 3, side);
    return {side, side, resize_axis(narrow, 1, image.height, 3 * side, side)};
}
