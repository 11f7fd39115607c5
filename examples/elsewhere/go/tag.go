// Tag images with OpenVINO:  tag dist/scenes photo.jpg …
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

type Steps struct{ Jpeg, Resize, Values string }

// The steps of this program, as tagger.json describes them.
var steps = Steps{
	Jpeg:   "decoded at the smallest DCT scale that is at least twice image_px",
	Resize: "plain, to a square, Pillow BILINEAR (antialiased)",
	Values: "uint8, normalisation is inside the model",
}

type Tagger struct {
	Version       int
	Preprocessing Steps
	Labels        []string
	Input         struct{ Shape [4]any }
	Models        []struct {
		Runtime, Precision, File string
		Thresholds               []float32
	}
}

type Tag struct {
	Label string
	Score float32
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: tag BUNDLE IMAGE...")
	}
	bundle := os.Args[1]
	tagger := describe(filepath.Join(bundle, "tagger.json"))
	side := int(tagger.Input.Shape[1].(float64))
	for _, model := range tagger.Models {
		if model.Runtime == "openvino" && model.Precision == "fp32" {
			session, err := Open(filepath.Join(bundle, model.File))
			check(err)
			for _, file := range os.Args[2:] {
				pixels, err := Read(file, side)
				check(err)
				scores, err := session.Scores(pixels, side, len(tagger.Labels))
				check(err)
				fmt.Printf("%s: %s\n", file, Format(decide(scores, tagger.Labels, model.Thresholds)))
			}
			return
		}
	}
	log.Fatalf("%s: no OpenVINO model in fp32", bundle)
}

func describe(file string) (tagger Tagger) {
	content, err := os.ReadFile(file)
	check(err)
	if err := json.Unmarshal(content, &tagger); err != nil {
		log.Fatalf("%s: %v", file, err)
	}
	if tagger.Version != 1 || tagger.Preprocessing != steps {
		log.Fatalf("%s: expected version 1 and %q, got %d and %q", file, steps, tagger.Version, tagger.Preprocessing)
	}
	return tagger
}

func decide(scores []float32, labels []string, thresholds []float32) (tags []Tag) {
	for index, score := range scores {
		if score >= thresholds[index] {
			tags = append(tags, Tag{labels[index], score})
		}
	}
	sort.Slice(tags, func(a, b int) bool { return tags[a].Score > tags[b].Score })
	return tags
}

func Format(tags []Tag) string {
	if len(tags) == 0 {
		return "nothing above its threshold"
	}
	texts := make([]string, len(tags))
	for index, tag := range tags {
		texts[index] = fmt.Sprintf("%s %.2f", tag.Label, tag.Score)
	}
	return strings.Join(texts, ", ")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
