package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg"
	_ "image/png"
	"math"
	"os"
)

// Read an image as the tagger does: upright, alpha over white, resized to a square of RGB pixels.
// Go's decoder has no reduced scales, and repeats the colours of subsampled JPEGs instead of interpolating them.
func Read(file string, side int) ([]uint8, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	picture, format, err := image.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	pixels, width, height := upright(picture, orientation(exif(content, format)))
	if height > 2*width-side { // tall images: as Pillow 13
		low := resizeAxis(pixels, 1, height, 3*width, side)
		return resizeAxis(low, side, width, 3, side), nil
	}
	narrow := resizeAxis(pixels, height, width, 3, side)
	return resizeAxis(narrow, 1, height, 3*side, side), nil
}

// EXIF orientations: 5 to 8 exchange rows and columns, the others mirror or turn by 180 degrees.
func upright(picture image.Image, orientation int) (pixels []uint8, width, height int) {
	bounds := picture.Bounds()
	width, height = bounds.Dx(), bounds.Dy()
	if orientation >= 5 {
		width, height = height, width
	}
	for y := 0; y < height; y++ {
		for x := 0; x < width; x++ {
			column, row := x, y
			if orientation >= 5 {
				column, row = y, x
			}
			switch orientation {
			case 2, 3, 7, 8:
				column = bounds.Dx() - 1 - column
			}
			switch orientation {
			case 3, 4, 6, 7:
				row = bounds.Dy() - 1 - row
			}
			pixels = append(pixels, overWhite(picture.At(bounds.Min.X+column, bounds.Min.Y+row))...)
		}
	}
	return pixels, width, height
}

func overWhite(colour color.Color) []uint8 {
	red, green, blue, alpha := colour.RGBA() // 0 to 65535, times alpha
	level := func(value uint32) uint8 { return uint8((value + 65535 - alpha + 128) / 257) }
	return []uint8{level(red), level(green), level(blue)}
}

// The middle axis of (outer, size, inner), by a triangle filter that is widened by the reduction, as Pillow's BILINEAR;
// weights have 22 bits.
func resizeAxis(pixels []uint8, outer, size, inner, target int) []uint8 {
	result := make([]uint8, outer*target*inner)
	reduction := float64(size) / float64(target)
	support := math.Max(1, reduction)
	for to := 0; to < target; to++ {
		centre := (float64(to) + 0.5) * reduction
		first := int(math.Max(0, centre-support+0.5))
		end := int(math.Min(float64(size), centre+support+0.5))
		triangle, total := make([]float64, end-first), 0.0
		for at := range triangle {
			triangle[at] = math.Max(0, 1-math.Abs(float64(first+at)-centre+0.5)/support)
			total += triangle[at]
		}
		weights := make([]int, end-first)
		for at := range weights {
			weights[at] = int(triangle[at]/total*(1<<22) + 0.5)
		}
		for row := 0; row < outer; row++ {
			for column := 0; column < inner; column++ {
				sum := 1 << 21
				for at, weight := range weights {
					sum += weight * int(pixels[(row*size+first+at)*inner+column])
				}
				result[(row*target+to)*inner+column] = uint8(sum >> 22)
			}
		}
	}
	return result
}

// The EXIF data of a JPEG or PNG, from their TIFF header to the end of the file; nil if there are none.
func exif(content []byte, format string) []byte {
	if format == "jpeg" {
		_, tiff, _ := bytes.Cut(content, []byte("Exif\x00\x00"))
		return tiff
	}
	for at := 8; at+12 <= len(content); at += 12 + int(binary.BigEndian.Uint32(content[at:])) {
		if string(content[at+4:at+8]) == "eXIf" {
			return content[at+8:]
		}
	}
	return nil
}

// The EXIF orientation, 1 to 8; 1 if there is none.
func orientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if tiff[0] == 'M' {
		order = binary.BigEndian
	}
	first := int(order.Uint32(tiff[4:])) + 2
	for entry := first; entry+12 <= len(tiff) && entry < first+12*int(order.Uint16(tiff[first-2:])); entry += 12 {
		if value := int(order.Uint16(tiff[entry+8:])); order.Uint16(tiff[entry:]) == 0x0112 && value >= 1 && value <= 8 {
			return value
		}
	}
	return 1
}
