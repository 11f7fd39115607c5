package main

/*
#include <openvino/c/openvino.h>
#include <stdlib.h>

// Go cannot call functions with a variable number of arguments.
// Without the hint, processors with AMX compute in bfloat16.
static ov_status_e open_model(const char* file, ov_infer_request_t** request) {
	ov_core_t* core = 0;
	ov_compiled_model_t* model = 0;
	ov_status_e status = ov_core_create(&core);
	if (status == OK)
		status = ov_core_compile_model_from_file(core, file, "CPU", 2, &model, "INFERENCE_PRECISION_HINT", "f32");
	return status == OK ? ov_compiled_model_create_infer_request(model, request) : status;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// Session is an open model; one goroutine may use it at a time.
type Session struct{ request *C.ov_infer_request_t }

func Open(file string) (*Session, error) {
	path := C.CString(file)
	defer C.free(unsafe.Pointer(path))
	session := &Session{}
	return session, failure(C.open_model(path, &session.request))
}

// Scores of one image of side * side RGB pixels.
func (session *Session) Scores(pixels []uint8, side, labels int) ([]float32, error) {
	var input, output *C.ov_tensor_t
	if err := failure(C.ov_infer_request_get_input_tensor(session.request, &input)); err != nil {
		return nil, err
	}
	defer C.ov_tensor_free(input)
	dimensions := [4]C.int64_t{1, C.int64_t(side), C.int64_t(side), 3}
	if err := failure(C.ov_tensor_set_shape(input, C.ov_shape_t{rank: 4, dims: &dimensions[0]})); err != nil {
		return nil, err
	}
	var data unsafe.Pointer
	if err := failure(C.ov_tensor_data(input, &data)); err != nil {
		return nil, err
	}
	copy(unsafe.Slice((*uint8)(data), len(pixels)), pixels)
	if err := failure(C.ov_infer_request_infer(session.request)); err != nil {
		return nil, err
	}
	if err := failure(C.ov_infer_request_get_output_tensor(session.request, &output)); err != nil {
		return nil, err
	}
	defer C.ov_tensor_free(output)
	if err := failure(C.ov_tensor_data(output, &data)); err != nil {
		return nil, err
	}
	return append([]float32(nil), unsafe.Slice((*float32)(data), labels)...), nil
}

func failure(status C.ov_status_e) error {
	if status == C.OK {
		return nil
	}
	return fmt.Errorf("OpenVINO: %s", C.GoString(C.ov_get_error_info(status)))
}
